//! Whole runs on a tiny package.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use cloister_engine::{Backend, Engine};
use cloister_finetune::examples::{Example, ExampleMaker};
use cloister_finetune::train::{Place, Step, run};
use cloister_finetune::{Base, FinetuneError, Method, Row, Settings, export, saved};
use cloister_model::named_tensors;
use cloister_package::fs::{read_package, write_package};
use cloister_package::{Manifest, WeightType, Weights, testing};
use std::path::Path;

fn write(folder: &Path, change: impl FnOnce(&mut Manifest)) {
    let config = testing::config();
    let tensors = testing::tensors(&config, 5);
    let mut manifest = testing::manifest(config);
    change(&mut manifest);
    write_package(folder, manifest, &tensors, testing::tokenizer_json()).unwrap();
}

fn row(code: &str, cwe: Option<&str>, lines: &[u32]) -> Row {
    Row {
        id: code.into(),
        code: code.into(),
        cwe: cwe.map(str::to_string),
        lines: lines.into(),
        group: code.into(),
        split: None,
    }
}

fn rows() -> Vec<Row> {
    vec![
        row("import os\n\ndef run(cmd):\n    os.system(cmd)\n", Some("CWE-78"), &[4]),
        row("import os\n\ndef run(cmd):\n    os.listdir(cmd)\n", None, &[]),
        row("def find(db, name):\n    return db.execute('select ' + name)\n", Some("CWE-89"), &[2]),
        row("def find(db, name):\n    return db.execute('select ?', name)\n", None, &[]),
    ]
}

fn settings(method: Method) -> Settings {
    Settings {
        steps: 12,
        batch: 4,
        micro_batch: 2,
        warmup: 2,
        checkpoint_every: 4,
        // Factors have further to go than weights.
        learning_rate: if method == Method::Ia3 { 0.1 } else { 0.02 },
        ..Settings::new(method)
    }
}

fn examples(base: &Base) -> Vec<Example> {
    ExampleMaker::new(base, 128).unwrap().make(&rows()).unwrap().examples
}

fn losses(method: Method, package: &Path, folder: &Path, settings: &Settings) -> Vec<f64> {
    let place = Place::cpu();
    let base = Base::read(package, place.device_for(method)).unwrap();
    let mut losses = Vec::new();
    run(&base, &examples(&base), settings, folder, &place, |step: &Step| losses.push(step.loss)).unwrap();
    losses
}

#[test]
fn every_method_learns_and_exports_what_it_learned() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("base");
    write(&package, |_| {});
    let place = Place::cpu();
    for method in [Method::Full, Method::Lora, Method::Ia3] {
        let base = Base::read(&package, place.device_for(method)).unwrap();
        let before = named_tensors(&base.model);
        let mut losses = Vec::new();
        let (run_folder, settings) = (folder.path().join(method.name()), settings(method));
        let tuned =
            run(&base, &examples(&base), &settings, &run_folder, &place, |step| losses.push(step.loss)).unwrap();
        assert!(losses[11] < 0.7 * losses[0], "{method:?}: {losses:?}");
        let unchanged = named_tensors(&tuned.base).iter().zip(&before).filter(|(a, b)| a == b).count();
        match method {
            // The pointer is asked nothing here.
            Method::Full => assert!(unchanged <= 4, "{unchanged}"),
            _ => assert_eq!(unchanged, before.len(), "{method:?} changed the frozen model"),
        }

        let exported = folder.path().join(format!("{}-package", method.name()));
        let weights = || Weights::plain(WeightType::F32);
        let manifest = export::package(&base, &tuned, &settings, weights(), &exported).unwrap();
        assert_ne!(manifest.self_test.logits, base.manifest.self_test.logits);
        let loaded = read_package(&exported, Device::flex()).unwrap();
        let mut engine = Engine::new(loaded, Backend::Cpu, "test").unwrap();
        assert!(pollster::block_on(engine.self_test()).unwrap().max_delta < 1e-4);

        let again = folder.path().join(format!("{}-merged", method.name()));
        let merged = export::merge_adapter(&package, &run_folder, weights(), &again);
        if method == Method::Full {
            assert!(matches!(merged, Err(FinetuneError::Io { .. })), "{merged:?}");
        } else {
            assert_eq!(merged.unwrap().self_test, manifest.self_test);
            let other = folder.path().join("other");
            write(&other, |manifest| manifest.name = "Another".into());
            let refused = export::merge_adapter(&other, &run_folder, weights(), &again);
            assert!(matches!(refused, Err(FinetuneError::OtherBase { .. })), "{refused:?}");
        }
    }
}

#[test]
fn a_run_that_was_cut_off_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("base");
    write(&package, |_| {});
    for method in [Method::Full, Method::Lora] {
        let (settings, place) = (settings(method), Place::cpu());
        let whole = losses(method, &package, &folder.path().join("whole"), &settings);
        // Cut off within step 7: the last checkpoint is that of step 4.
        let cut = folder.path().join("cut");
        let base = Base::read(&package, place.device_for(method)).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&base, &examples(&base), &settings, &cut, &place, |step| assert!(step.step < 7, "cut off"))
        }));
        assert!(panicked.is_err());
        let rest = losses(method, &package, &cut, &settings);
        assert_eq!(rest.len(), 8, "{method:?}");
        for (a, b) in rest.iter().zip(&whole[4..]) {
            assert!((a - b).abs() < 1e-3, "{method:?}: {rest:?} {whole:?}");
        }
        let log = std::fs::read_to_string(cut.join("log.csv")).unwrap();
        let steps: Vec<&str> = log.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(steps, (1..=12).map(|step| step.to_string()).collect::<Vec<_>>());
        // A finished run is not run again, and not by another's settings.
        assert!(losses(method, &package, &cut, &settings).is_empty());
        let other = Settings { seed: 1, ..settings.clone() };
        let refused = run(&base, &examples(&base), &other, &cut, &place, |_| {});
        assert!(matches!(refused, Err(FinetuneError::OtherRun { .. })), "{refused:?}");
        for name in ["whole", "cut"] {
            std::fs::remove_dir_all(folder.path().join(name)).unwrap();
        }
    }
}

#[test]
fn seeds_decide() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("base");
    write(&package, |_| {});
    let run = |name: &str, seed: u64| {
        let settings = Settings { steps: 3, batch: 1, seed, ..settings(Method::Lora) };
        losses(Method::Lora, &package, &folder.path().join(name), &settings)
    };
    let (one, again, other) = (run("one", 1), run("again", 1), run("other", 2));
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[test]
fn the_loss_looks_at_the_answer_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), |manifest| {
        for label in &mut manifest.labels {
            let text = if label.label == "none" { "in" } else { label.label.as_str() };
            let tokens: Vec<u32> = match text {
                "in" => vec![1, 2],
                other => std::iter::once(3).chain(other.bytes().map(u32::from)).collect(),
            };
            label.answer.tokens = tokens;
        }
    });
    let base = Base::read(folder.path(), Device::flex()).unwrap();
    let made = ExampleMaker::new(&base, 100).unwrap().make(&rows()).unwrap();
    let template = &base.manifest.prompt;
    for (example, row) in made.examples.iter().zip(rows()) {
        let label = &base.manifest.labels[example.label];
        assert_eq!(Some(label.label.as_str()).filter(|label| *label != "none"), row.cwe.as_deref());
        assert_eq!(example.answer, label.answer.tokens);
        let start = example.asked().start + 1;
        assert!(example.ids[..start].ends_with(&template.suffix.tokens));
        assert_eq!(example.ids[start..], example.answer[..example.answer.len() - 1]);
        assert!(example.ids.len() < 100);
    }
}

#[test]
fn units_are_labelled_by_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), |_| {});
    let base = Base::read(folder.path(), Device::flex()).unwrap();
    let maker = ExampleMaker::new(&base, 128).unwrap();
    let code = "def a(x):\n    return eval(x) + eval(x) + 1\n\n\ndef b(x):\n    return x\n";
    let labels = |rows: &[Row]| -> Vec<usize> {
        maker.make(rows).unwrap().examples.iter().map(|example| example.label).collect()
    };
    assert_eq!(labels(&[row(code, None, &[])]), [0, 0]);
    assert_eq!(labels(&[row(code, Some("CWE-78"), &[6])]), [0, 1]);
    assert_eq!(labels(&[row(code, Some("CWE-78"), &[])]), [1]);
    let some =
        maker.make(&[row(code, Some("CWE-1"), &[]), row("# nothing\n", None, &[]), row(code, None, &[])]).unwrap();
    assert_eq!((some.unknown, some.examples.len()), (1, 2));
    assert!(matches!(maker.make(&[row(code, Some("CWE-1"), &[])]), Err(FinetuneError::NoRows(_))));
    assert!(matches!(ExampleMaker::new(&base, 6), Err(FinetuneError::Setting { name: "--sequence", .. })));
}

#[test]
fn a_damaged_adapter_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (package, adapter) = (folder.path().join("base"), folder.path().join("run"));
    write(&package, |_| {});
    let settings = Settings { steps: 1, ..settings(Method::Ia3) };
    losses(Method::Ia3, &package, &adapter, &settings);
    let target = folder.path().join("out");
    let merge = || export::merge_adapter(&package, &adapter, Weights::plain(WeightType::F16), &target);
    merge().unwrap();
    let path = adapter.join(saved::ADAPTER_FILE);
    let bytes = std::fs::read(&path).unwrap();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], b""] {
        std::fs::write(&path, damaged).unwrap();
        let error = merge().unwrap_err().to_string();
        assert!(error.contains(saved::ADAPTER_FILE), "{error}");
    }
    std::fs::write(adapter.join(saved::ADAPTER_INFO), "{}").unwrap();
    assert!(merge().unwrap_err().to_string().contains(saved::ADAPTER_INFO));
}
