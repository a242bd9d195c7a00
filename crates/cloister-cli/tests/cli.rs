//! The program from outside: what it prints, where, and how it exits.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

mod common;

use cloister_engine::{AnalyzeOptions, Backend, Engine, SourceFile, Unobserved};
use common::{Place, json, run_in, stderr, stdout};
use serde_json::{Value, json};

const CODE: &str = "import os\n\ndef run(cmd):\n    os.system(cmd)\n\ndef other(a, b):\n    return a + b\n";

#[test]
fn the_exit_code_says_whether_something_was_found() {
    let place = Place::new();
    place.write("app.py", CODE);
    let found = place.run(&["scan", "app.py", "--threshold", "0"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(stdout(&found).contains("app.py:") && stdout(&found).contains("CWE-"), "{}", stdout(&found));
    assert_eq!(stderr(&found), "");
    let nothing = place.run(&["scan", "app.py", "--threshold", "1"]);
    assert_eq!(nothing.status.code(), Some(0), "{nothing:?}");
    let unread = place.run(&["scan", "app.py", "missing.py", "--threshold", "1"]);
    assert_eq!(unread.status.code(), Some(2));
    assert!(stderr(&unread).contains("missing.py"), "{}", stderr(&unread));
}

#[test]
fn standard_input_is_scanned_under_its_own_name() {
    let place = Place::new();
    let output = place.run_with_input(&["scan", "-", "--threshold", "0", "--format", "json"], CODE);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("\"<stdin>\""), "{}", stdout(&output));
    let nothing = place.run_with_input(&["scan", "-"], "");
    assert_eq!(nothing.status.code(), Some(0));
    assert!(stdout(&nothing).contains("empty"), "{}", stdout(&nothing));
}

#[test]
fn folders_are_searched_for_python_and_ignored_files_are_left_alone() {
    let place = Place::new();
    for name in ["src/b.py", "src/a.py", "src/deep/c.pyw", "src/notes.txt", "src/build/made.py", "src/.hidden/d.py"] {
        place.write(name, CODE);
    }
    place.write("src/.gitignore", "build/\n");
    let output = place.run(&["scan", "src", "./src/a.py", "--threshold", "0", "--format", "json"]);
    let text = stdout(&output);
    let places: Vec<Option<usize>> =
        ["\"src/a.py\"", "\"src/b.py\"", "\"src/deep/c.pyw\""].map(|name| text.find(name)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {text}");
    for name in ["notes.txt", "made.py", "d.py"] {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn sarif_goes_to_a_file_and_holds_every_finding() {
    let place = Place::new();
    place.write("app.py", CODE);
    let output = place.run(&["scan", "app.py", "--threshold", "0", "--format", "sarif", "--output", "out.sarif"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    let sarif: Value = serde_json::from_slice(&std::fs::read(place.path("out.sarif")).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 6);
    let markdown = place.run(&["scan", "app.py", "--threshold", "0", "--format", "markdown"]);
    assert!(stdout(&markdown).contains("CWE-"), "{}", stdout(&markdown));
}

#[test]
fn classes_can_be_chosen() {
    let place = Place::new();
    place.write("app.py", CODE);
    let count = |arguments: &[&str]| {
        let all = [&["scan", "app.py", "--threshold", "0", "--format", "sarif"], arguments].concat();
        json(&place.run(&all))["runs"][0]["results"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--cwe", "CWE-89"]), 2);
    assert_eq!(count(&["--cwe", "89,cwe-78"]), 4);
    assert_eq!(count(&["--cwe", "CWE-22"]), 0);
}

#[test]
fn the_program_finds_what_the_engine_finds() {
    let place = Place::new();
    place.write("app.py", CODE);
    let lines = place.run_with_input(
        &["predict", "--input", "-", "--output", "-", "--threshold", "0"],
        &format!("{}\n", json!({"id": "app.py", "code": CODE})),
    );
    let predicted = json(&lines);
    let package = cloister_package::fs::read_package(&place.package(), burn::tensor::Device::flex()).unwrap();
    let mut engine = Engine::new(package, Backend::Cpu, "test").unwrap();
    let files = [SourceFile { name: "app.py".into(), text: CODE.into() }];
    let options = AnalyzeOptions { threshold: Some(0.0), ..AnalyzeOptions::default() };
    let analysis = pollster::block_on(engine.analyze(&files, &options, &mut Unobserved)).unwrap();
    let found = predicted["findings"].as_array().unwrap();
    assert_eq!(found.len(), analysis.findings.len());
    for finding in &analysis.findings {
        let same = |row: &&Value| {
            row["cwe"] == finding.cwe.as_str()
                && row["line"] == finding.range.start.line
                && row["end_line"] == finding.range.end.line
                && row["confidence"].as_f64().is_some_and(|p| (p - finding.confidence).abs() < 1e-9)
        };
        assert_eq!(found.iter().filter(same).count(), 1, "{finding:?} {found:?}");
    }
    assert!(analysis.units.len() > 1, "one unit alone cannot tell the product from the highest");
    let any = 1.0 - analysis.units.iter().map(|unit| unit.safe).product::<f64>();
    assert!((predicted["probability"].as_f64().unwrap() - any).abs() < 1e-6, "{predicted} {any}");
    let scores = predicted["scores"].as_object().unwrap();
    assert_eq!(scores.len(), 3);
    for (cwe, score) in scores {
        let highest = analysis.units.iter().flat_map(|unit| &unit.top).filter(|class| class.cwe == *cwe);
        let highest = highest.map(|class| class.probability).fold(0.0, f64::max);
        assert!((score.as_f64().unwrap() - highest).abs() < 1e-9);
    }
}

#[test]
fn predict_keeps_the_order_and_skips_bad_rows() {
    let place = Place::new();
    let row = |id: &str, code: &str| json!({"id": id, "code": code, "more": 1}).to_string();
    let rows = [
        row("b", CODE),
        "not json".into(),
        row("a", "def f(:\n"),
        json!({"id": "no code"}).to_string(),
        row("empty", ""),
        row("text", "Dear reader, this is not Python at all."),
    ];
    place.write("rows.jsonl", rows.join("\n"));
    let output = place.run(&["predict", "--input", "rows.jsonl", "--output", "out.jsonl", "--threshold", "0"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let errors = stderr(&output);
    assert!(errors.contains("line 2") && errors.contains("line 4") && errors.contains("2 were skipped"), "{errors}");
    let written = std::fs::read_to_string(place.path("out.jsonl")).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["b", "a", "empty", "text"]);
    assert_eq!(lines[0]["vulnerable"], true);
    for line in &lines[2..] {
        assert_eq!((&line["vulnerable"], &line["findings"], &line["scores"]), (&json!(false), &json!([]), &json!({})));
    }
}

#[test]
fn eval_measures_the_model_as_it_measures_its_predictions() {
    let place = Place::new();
    let row = |id: &str, safe: bool, group: &str| {
        let code = if safe { CODE.replace("os.system(cmd)", "print(cmd)") } else { CODE.to_string() };
        let cwe = if safe { json!(null) } else { json!("CWE-78") };
        json!({"id": id, "source": "test", "code": code, "cwe": cwe, "safe": safe, "line": 4, "group": group})
            .to_string()
    };
    let rows = [row("1", false, "a"), row("2", true, "a"), row("3", false, "b"), row("4", true, "b")];
    place.write("rows.jsonl", rows.join("\n"));
    let options = ["--threshold", "0.6", "--format", "json", "--resamples", "50"];
    let direct = place.run(&[&["eval", "rows.jsonl"], &options[..]].concat());
    assert_eq!(direct.status.code(), Some(0), "{direct:?}");
    place.run(&["predict", "--input", "rows.jsonl", "--output", "out.jsonl", "--threshold", "0.6"]);
    let folder = place.path("");
    let given = run_in(
        &folder,
        &["eval", "rows.jsonl", "--predictions", "out.jsonl", "--format", "json", "--resamples", "50"],
        "",
    );
    assert_eq!(json(&direct), json(&given));
    assert_eq!(json(&direct)["overall"]["n"], 4);
    let text = run_in(&folder, &["eval", "rows.jsonl", "--predictions", "out.jsonl"], "");
    assert!(stdout(&text).contains("4 rows"), "{text:?}");

    place.write("bad.jsonl", "{}\n");
    let bad = place.run(&["eval", "bad.jsonl"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(stderr(&bad).contains("bad.jsonl") && stderr(&bad).contains("line 1"), "{}", stderr(&bad));
}

#[test]
fn faults_of_the_package_are_told() {
    let place = Place::new();
    place.write("app.py", CODE);
    let missing = run_in(&place.path(""), &["scan", "app.py", "--package", "nowhere"], "");
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("nowhere") && stderr(&missing).contains("--package"), "{}", stderr(&missing));

    // Logits that this machine does not compute.
    cloister_package::fs::update_manifest(&place.package(), |manifest| manifest.self_test.logits[0] += 1.0).unwrap();
    let untrusted = place.run(&["scan", "app.py"]);
    assert_eq!(untrusted.status.code(), Some(2));
    assert!(stderr(&untrusted).contains("self-test"), "{}", stderr(&untrusted));

    let shard = place.path("model/weights-00001-of-00001.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    for device in ["cpu", "auto"] {
        let package = place.package();
        let damaged = run_in(
            &place.path(""),
            &["scan", "app.py", "--package", package.to_str().unwrap(), "--device", device],
            "",
        );
        assert_eq!(damaged.status.code(), Some(2));
        assert!(stderr(&damaged).contains("weights-00001-of-00001.safetensors"), "{}", stderr(&damaged));
    }
}

#[test]
fn the_device_is_chosen_by_itself() {
    let place = Place::new();
    place.write("app.py", CODE);
    let package = place.package();
    let arguments = ["scan", "app.py", "--package", package.to_str().unwrap(), "--threshold", "0", "--format", "sarif"];
    let output = run_in(&place.path(""), &arguments, "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Either a GPU that passes the self-test, or the reason why not.
    assert!(
        stderr(&output).is_empty() || stderr(&output).contains("running on the CPU, because"),
        "{}",
        stderr(&output)
    );
    let on_cpu = place.run(&["scan", "app.py", "--threshold", "0", "--format", "sarif"]);
    assert_eq!(
        json(&output)["runs"][0]["results"].as_array().map(Vec::len),
        json(&on_cpu)["runs"][0]["results"].as_array().map(Vec::len)
    );
}

#[test]
fn a_gpu_that_is_asked_for_finds_what_the_cpu_finds_or_says_why_not() {
    let place = Place::new();
    place.write("app.py", CODE);
    let package = place.package();
    let scan = |device: &str| {
        let arguments = ["scan", "app.py", "--threshold", "0", "--format", "json", "--device", device, "--package"];
        run_in(&place.path(""), &[&arguments[..], &[package.to_str().unwrap()]].concat(), "")
    };
    let (gpu, cpu) = (scan("gpu"), scan("cpu"));
    if gpu.status.code() == Some(2) {
        let text = stderr(&gpu);
        assert!(text.contains("the GPU cannot be used") && text.contains("--device cpu"), "{text}");
        eprintln!("no GPU on this machine: {text}");
        return;
    }
    let classes = |output: &std::process::Output| -> Vec<(String, f64)> {
        let report = json(output);
        let findings = report["findings"].as_array().unwrap();
        findings.iter().map(|f| (f["id"].as_str().unwrap().to_string(), f["confidence"].as_f64().unwrap())).collect()
    };
    let (on_gpu, on_cpu) = (classes(&gpu), classes(&cpu));
    assert_eq!(on_gpu.len(), on_cpu.len());
    for ((id, confidence), (other_id, other)) in on_gpu.iter().zip(&on_cpu) {
        assert!(id == other_id && (confidence - other).abs() < 1e-3, "{on_gpu:?} {on_cpu:?}");
    }
}

#[test]
fn the_help_teaches() {
    let place = Place::new();
    let help = run_in(&place.path(""), &["--help"], "");
    assert_eq!(help.status.code(), Some(0));
    for word in ["scan", "predict", "eval", "Exit codes", "cloister scan ."] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert_eq!(run_in(&place.path(""), &["scan"], "").status.code(), Some(2));
    assert_eq!(run_in(&place.path(""), &["scan", "x.py", "--threshold", "2"], "").status.code(), Some(2));
}

#[test]
fn a_checkpoint_becomes_a_package_that_can_be_asked() {
    let place = Place::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/checkpoint");
    std::fs::create_dir(place.path("checkpoint")).unwrap();
    for name in ["config.json", "pytorch_model.bin"] {
        std::fs::copy(format!("{fixture}/{name}"), place.path(&format!("checkpoint/{name}"))).unwrap();
    }
    let folder = place.path("");
    let import =
        |arguments: &[&str]| run_in(&folder, &[&["import", "checkpoint", "-o", "made"], arguments].concat(), "");
    let output = import(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("tokenizer.json"), "{}", stderr(&output));
    std::fs::write(place.path("checkpoint/tokenizer.json"), cloister_package::testing::tokenizer_json()).unwrap();
    let output = import(&["--prompt", "prompt.json"]);
    assert!(stderr(&output).contains("prompt.json"), "{}", stderr(&output));
    place.write("prompt.json", "{\"prefix\": \"# code\\n\"}");
    let output = import(&["--prompt", "prompt.json"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("suffix"), "{}", stderr(&output));
    let prompt = json!({"prefix": "# code\n", "suffix": "# weakness:", "answers": {"none": " no", "CWE-89": " sql;", "CWE-78": " command;"}});
    place.write("prompt.json", prompt.to_string());
    place.write("app.py", CODE);
    for precision in ["f16", "q8", "q4"] {
        let output = import(&["--prompt", "prompt.json", "--quantize", precision, "--name", "Mine"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("3 labels"), "{}", stderr(&output));
        let scan = ["scan", "app.py", "--package", "made", "--device", "cpu", "--threshold", "0", "--format", "sarif"];
        let found = run_in(&folder, &scan, "");
        assert_eq!(found.status.code(), Some(1), "{}", stderr(&found));
        assert_eq!(json(&found)["runs"][0]["results"].as_array().unwrap().len(), 4);
    }
    // Its own words, once the package says with which token they end.
    let generate = |arguments: &[&str]| {
        run_in(&folder, &[&["generate", "app.py", "--package", "made", "--device", "cpu"], arguments].concat(), "")
    };
    let output = generate(&[]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("in words"), "{}", stderr(&output));
    let manifest = place.path("made/model.json");
    let mut made: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    made["prompt"]["stop"] = json!([0]);
    std::fs::write(&manifest, made.to_string()).unwrap();
    let drawn = ["--max-tokens", "20", "--temperature", "1", "--top-p", "0.9", "--seed", "7"];
    let output = generate(&drawn);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing checks them"), "{}", stderr(&output));
    assert!(output.stdout.len() > 20);
    assert_eq!(generate(&drawn).stdout, output.stdout);
    assert_eq!(generate(&["--temperature", "-1"]).status.code(), Some(2));
}

const ROWS: &str = concat!(
    r#"{"code": "import os\n\ndef run(cmd):\n    os.system(cmd)\n", "cwe": "CWE-78", "line": 4, "group": "a"}"#,
    "\n",
    r#"{"code": "import os\n\ndef run(cmd):\n    os.listdir(cmd)\n", "cwe": null, "group": "a"}"#,
    "\n",
    r#"{"code": "def find(db, name):\n    return db.execute('select ' + name)\n", "cwe": "CWE-89", "group": "b"}"#,
    "\n",
    r#"{"code": "def find(db, name):\n    return db.execute('select ?', name)\n", "safe": true, "group": "b"}"#,
    "\n"
);

#[test]
fn a_package_is_tuned_measured_and_merged() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    let tune = |output: &str, more: &[&str]| {
        let fixed = ["finetune", "--base", "model", "--data", "rows.jsonl", "--output", output, "--device", "cpu"];
        run_in(&place.path("."), &[&fixed[..], &["--steps", "3", "--batch", "2"], more].concat(), "")
    };
    let all = tune("all", &["--method", "full,lora,ia3", "--held-out", "rows.jsonl"]);
    assert_eq!(all.status.code(), Some(0), "{all:?}");
    let table = stdout(&all);
    for name in ["base, not tuned", "full, seed 0", "lora, seed 0", "ia3, seed 0", "4 rows held out"] {
        assert!(table.contains(name), "{table}");
    }
    assert_eq!(std::fs::read_to_string(place.path("all/table.md")).unwrap(), table);
    assert!(stderr(&all).contains("step     3/3"), "{}", stderr(&all));

    let merged = run_in(
        &place.path("."),
        &["merge", "--base", "model", "--adapter", "all/lora-seed-0", "--output", "merged", "--quantize", "q8"],
        "",
    );
    assert_eq!(merged.status.code(), Some(0), "{merged:?}");
    place.write("app.py", CODE);
    let package = ["scan", "--package", "merged", "--device", "cpu", "app.py", "--threshold", "0"];
    assert_eq!(run_in(&place.path("."), &package, "").status.code(), Some(1));

    // The same command again has nothing left to learn; another seed is another run.
    let again = tune("all", &["--method", "full,lora,ia3", "--held-out", "rows.jsonl"]);
    assert_eq!((again.status.code(), stdout(&again)), (Some(0), table));
    assert_eq!(stderr(&again).matches("step ").count(), 0, "{}", stderr(&again));
    let one = tune("one", &["--held-out-share", "0.5"]);
    assert!(stdout(&one).contains("2 rows held out"), "{one:?}");
    let other = tune("one", &["--held-out-share", "0.5", "--rank", "2"]);
    assert!(other.status.code() == Some(2) && stderr(&other).contains("other settings"), "{other:?}");
}

#[test]
fn what_cannot_be_tuned_is_told() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    place.write("bad.jsonl", "{\"code\": \"pass\"}\n{\"cwe\": \"CWE-89\"}\n");
    let tune = |base: &str, data: &str, more: &[&str]| {
        let fixed = ["finetune", "--base", base, "--data", data, "--output", "out", "--device", "cpu"];
        let output = run_in(&place.path("."), &[&fixed[..], more].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        stderr(&output).to_string()
    };
    let bad = tune("model", "bad.jsonl", &[]);
    assert!(bad.contains("bad.jsonl") && bad.contains("line 2") && bad.contains("code"), "{bad}");
    assert!(tune("nothing", "rows.jsonl", &[]).contains("model.json"));
    assert!(tune("model", "rows.jsonl", &["--learning-rate", "0"]).contains("--learning-rate"));
    assert!(tune("model", "rows.jsonl", &["--sequence", "3"]).contains("--sequence"));
}
