//! What the engine computes is what the model computes.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

mod common;

use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_engine::{AnswerTrie, EngineError, Probabilities, Scorer};
use cloister_model::{CodeGen, Positions};
use cloister_package::{SelfTest, TokenText, Tolerance, testing};
use common::{config, engine, load, plain, try_engine};

/// Logits of the answers, and softmax of the line pointer, without a cache and in one pass.
fn reference(model: &CodeGen, ids: &[u32], answers: &[u32], line_ends: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let device = Device::default();
    let values: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let positions = Positions::causal(model.config(), 0, ids.len(), &device).unwrap();
    let hidden =
        model.forward(Tensor::<2, Int>::from_data(TensorData::new(values, [1, ids.len()]), &device), &positions);
    let d = model.config().n_embd;
    let all: Vec<f32> = model.logits(hidden.clone()).narrow(1, ids.len() - 1, 1).into_data().iter::<f32>().collect();
    let last = hidden.clone().narrow(1, ids.len() - 1, 1).reshape([1, d]);
    let scores: Vec<f32> = line_ends
        .iter()
        .map(|end| {
            let candidate = hidden.clone().narrow(1, *end, 1);
            model.line_pointer.as_ref().unwrap().forward(last.clone(), candidate).into_scalar()
        })
        .collect();
    let total: f32 = scores.iter().map(|score| score.exp()).sum();
    (answers.iter().map(|token| all[*token as usize]).collect(), scores.iter().map(|s| s.exp() / total).collect())
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-4, "{found:?} {expected:?}");
    }
}

/// Answers of one token.
fn trie(answers: &[u32]) -> AnswerTrie {
    AnswerTrie::new(answers.chunks(1)).unwrap()
}

#[test]
fn a_score_is_what_the_plain_forward_pass_gives() {
    for (length, prefix) in [(2, 1), (60, 1), (60, 0), (60, 7), (1100, 3)] {
        let (model, plain) = (load(config(1200), |_| ()).model, plain(config(1200)));
        let ids: Vec<u32> = (0..length).map(|i| (i * 37 + i / 5) % 256).collect();
        let line_ends: Vec<usize> = (prefix..length as usize).step_by(11).collect();
        let answers = [5, 270, 17];
        let expected = reference(&plain, &ids, &answers, &line_ends);
        let scorer = Scorer::new(model, ids[..prefix].to_vec(), trie(&answers)).unwrap();
        let score = pollster::block_on(scorer.score(&ids, &line_ends)).unwrap();
        assert_close(&score.logits, &expected.0);
        assert_close(&score.lines, &expected.1);
        // The prefix's keys and values are as they were.
        assert_eq!(pollster::block_on(scorer.score(&ids, &line_ends)).unwrap(), score);
    }
}

/// Each answer read behind the prompt by itself, without a cache, its tokens weighed against those that other answers have
/// at the same place.
#[test]
fn answers_of_several_tokens_are_what_plain_passes_give() {
    let answers: [&[u32]; 5] = [&[5, 9, 11], &[5, 9, 12, 40], &[7], &[5, 13], &[8, 9]];
    for (length, prefix) in [(40, 3), (1100, 3), (1196, 1)] {
        let (model, plain) = (load(config(1200), |_| ()).model, plain(config(1200)));
        let ids: Vec<u32> = (0..length).map(|i| (i * 37 + i / 5) % 256).collect();
        let expected: Vec<f32> = answers
            .iter()
            .map(|answer| {
                let step = |place: usize| {
                    let others: Vec<u32> = answers
                        .iter()
                        .filter(|other| other.len() > place && other[..place] == answer[..place])
                        .map(|other| other[place])
                        .collect::<std::collections::BTreeSet<u32>>()
                        .into_iter()
                        .collect();
                    let logits = reference(&plain, &[&ids[..], &answer[..place]].concat(), &others, &[]).0;
                    let sum = logits.iter().map(|logit| logit.exp()).sum::<f32>().ln();
                    logits[others.iter().position(|token| *token == answer[place]).unwrap()] - sum
                };
                (0..answer.len()).map(step).sum()
            })
            .collect();
        let trie = AnswerTrie::new(answers).unwrap();
        let scorer = Scorer::new(model, ids[..prefix].to_vec(), trie).unwrap();
        let score = pollster::block_on(scorer.score(&ids, &[prefix])).unwrap();
        assert_close(&score.logits, &expected);
        assert_eq!(score.lines, [1.0]);
        assert_eq!(pollster::block_on(scorer.score(&ids, &[prefix])).unwrap(), score);
    }
}

#[test]
fn lines_that_are_asked_add_their_odds() {
    let (model, plain) = (load(config(1200), |_| ()).model, plain(config(1200)));
    let (ids, answers, line_ends) =
        ((0..60).map(|i| (i * 37 + i / 5) % 256).collect::<Vec<u32>>(), [5, 270, 17], [9, 31]);
    let (last, pointer) = reference(&plain, &ids, &answers, &line_ends);
    let at: Vec<Vec<f32>> = line_ends.iter().map(|end| reference(&plain, &ids[..=*end], &answers, &[]).0).collect();
    let odds = |label: usize| at.iter().map(|line| (line[label] - line[1]).exp()).sum::<f32>().ln();
    let expected = [last[0] + odds(0), last[1], last[2] + odds(2)];
    let scorer = Scorer::new(model, ids[..3].to_vec(), trie(&answers)).unwrap().with_line_evidence(1);
    let score = pollster::block_on(scorer.score(&ids, &line_ends)).unwrap();
    assert_close(&score.logits, &expected);
    assert_close(&score.lines, &pointer);
    // Without lines the answer is the last position's alone.
    assert_close(&pollster::block_on(scorer.score(&ids, &[])).unwrap().logits, &last);
}

#[test]
fn a_model_without_a_line_pointer_gives_no_lines() {
    let mut config = config(64);
    config.line_pointer_dim = None;
    let model = load(config, |_| ()).model;
    let scorer = Scorer::new(model, vec![1], trie(&[2, 3])).unwrap();
    let score = pollster::block_on(scorer.score(&[1, 4, 5], &[1])).unwrap();
    assert_eq!((score.logits.len(), score.lines.len()), (2, 0));
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let model = load(config(64), |_| ()).model;
    let scorer = Scorer::new(model, vec![1], trie(&[2, 3])).unwrap();
    let score = |ids: &[u32], ends: &[usize]| pollster::block_on(scorer.score(ids, ends)).unwrap_err();
    assert!(matches!(score(&[1; 65], &[]), EngineError::Model(_)));
    assert!(matches!(score(&[2, 3], &[]), EngineError::Inconsistent(_)));
    assert!(matches!(score(&[1], &[]), EngineError::Inconsistent(_)));
    assert!(matches!(score(&[1, 2], &[2]), EngineError::Inconsistent(_)));
    assert!(matches!(score(&[1, 2], &[0]), EngineError::Inconsistent(_)));
}

#[test]
fn the_package_says_whether_lines_are_asked() {
    let probability = |asked| {
        let mut engine = try_engine(config(128), |manifest| manifest.prompt.line_evidence = asked).unwrap();
        let json = engine.manifest().to_json().unwrap();
        assert_eq!(json.contains("\"lineEvidence\": true"), asked, "{json}");
        common::analyze(&mut engine, "def f(x):\n    y = x\n    return y\n").units[0].safe
    };
    assert!((probability(true) - probability(false)).abs() > 1e-3);
}

#[test]
fn the_self_test_holds_what_was_pinned() {
    let text = "def f(x):\n    return x\n";
    let tolerance = Tolerance { cpu: 1e-4, webgpu: 1e-3 };
    let engine = try_engine(config(128), |_| ()).unwrap();
    let pinned = pollster::block_on(engine.pin_self_test(text, tolerance)).unwrap();
    assert_eq!(pinned.logits.len(), testing::LABELS.len());

    let run = |test: SelfTest| {
        let mut engine = try_engine(config(128), |manifest| manifest.self_test = test).unwrap();
        let result = pollster::block_on(engine.self_test());
        (result, engine.info().self_test)
    };
    let (result, info) = run(pinned.clone());
    assert!(result.clone().unwrap().max_delta <= 1e-5);
    assert_eq!(info, result.ok());

    let mut wrong = pinned.clone();
    wrong.logits[2] += 0.01;
    let (result, info) = run(wrong);
    let EngineError::SelfTest { max_delta, tolerance } = result.unwrap_err() else { panic!() };
    assert!((max_delta - 0.01).abs() < 1e-4 && tolerance == 1e-4);
    assert_eq!(info, None);

    // What the parser and the tokenizer make of the text is not what the package was pinned with.
    let mut other = pinned;
    other.text = text.replace("return x", "return y");
    assert!(matches!(run(other).0.unwrap_err(), EngineError::Inconsistent(_)));
}

#[test]
fn packages_that_contradict_themselves_are_refused() {
    let error = try_engine(config(128), |manifest| manifest.prompt.prefix.text = "<|pad|>".into()).unwrap_err();
    assert!(matches!(error, EngineError::Inconsistent(_)), "{error}");
    let error = try_engine(config(128), |manifest| manifest.labels[1].answer.tokens = vec![40]).unwrap_err();
    assert!(matches!(error, EngineError::Inconsistent(_)), "{error}");
}

#[test]
fn a_package_answers_in_words() {
    let answer = |text: &str| TokenText { text: text.into(), tokens: text.bytes().map(spelled).collect() };
    let mut engine = try_engine(config(128), |manifest| {
        for (label, text) in manifest.labels.iter_mut().zip(["No", "CWE-78;", "CWE-79;", "CWE-89;"]) {
            label.answer = answer(text);
        }
    })
    .unwrap();
    // Code that fills the context to the last token that the longest answer leaves.
    let text = format!("def f():\n{}", "    x = 1\n".repeat(40));
    let verdict = &common::analyze(&mut engine, &text).units[0];
    assert!(verdict.safe > 0.0 && verdict.safe < 1.0, "{verdict:?}");
}

/// The test tokenizer's id of a printable byte: they come in the order of the bytes that it can show.
fn spelled(byte: u8) -> u32 {
    engine(128).tokenizer().encode(&char::from(byte).to_string()).unwrap().ids[0]
}

#[test]
fn probabilities_follow_the_calibration_of_the_package() {
    let engine = try_engine(config(128), |manifest| manifest.calibration.offset = 3.0).unwrap();
    let manifest = engine.manifest();
    let high = Probabilities::new(&[0.0; 4], &manifest.labels, &manifest.calibration);
    assert!((high.weak - 1.0 / (1.0 + (-3.0 - 3f64.ln()).exp())).abs() < 1e-9);
}
