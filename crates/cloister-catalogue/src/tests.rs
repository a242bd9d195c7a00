//! What must hold of the embedded catalogue, and what a faulty one is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{
    Catalogue, CatalogueError, Severity, TOP_25_OF_2024, catalogue, entries, entry, number, same_family,
    security_severity,
};

const TOP_25_OF_2025: [u32; 25] = [
    79, 89, 352, 862, 787, 22, 416, 125, 78, 94, 120, 434, 476, 121, 502, 122, 863, 20, 284, 200, 306, 918, 77, 639,
    770,
];
const COMMON_IN_PYTHON: [u32; 34] = [
    95, 96, 1336, 80, 88, 90, 91, 113, 117, 259, 295, 319, 321, 326, 327, 328, 330, 338, 347, 377, 209, 532, 601, 611,
    776, 643, 732, 1333, 915, 916, 367, 489, 614, 943,
];
const MEMORY: [u32; 9] = [119, 120, 121, 122, 125, 190, 416, 476, 787];

fn id(number: u32) -> String {
    format!("CWE-{number}")
}

#[test]
fn the_embedded_catalogue_parses() {
    assert!(catalogue().is_ok(), "{:?}", catalogue().err());
    assert!(!entries().is_empty());
}

#[test]
fn every_listed_class_has_an_entry() {
    let families = catalogue().unwrap().families().iter().flatten().copied();
    for class in TOP_25_OF_2024.into_iter().chain(TOP_25_OF_2025).chain(COMMON_IN_PYTHON).chain(families) {
        assert!(entry(&id(class)).is_some(), "CWE-{class} has no entry");
    }
}

#[test]
fn every_class_of_the_data_set_has_an_entry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/dataset");
    let mut seen = BTreeSet::new();
    for (folder, table) in [("pairs", "pair"), ("patterns", "pattern")] {
        for file in fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
            // Files of safe code have no such table.
            for item in text.get(table).and_then(toml::Value::as_array).into_iter().flatten() {
                let class = item["cwe"].as_str().unwrap();
                assert!(entry(class).is_some(), "{class} of {} has no entry", path.display());
                seen.insert(class.to_owned());
            }
        }
    }
    assert!(seen.len() >= TOP_25_OF_2024.len(), "only {} classes were found in the data set", seen.len());
}

#[test]
fn entries_are_unique_ordered_and_found_by_id() {
    let numbers: Vec<_> = entries().iter().map(|entry| entry.number().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    for known in entries() {
        assert_eq!(entry(&known.id), Some(known));
    }
    let titles: BTreeSet<_> = entries().iter().map(|entry| &entry.title).collect();
    assert_eq!(titles.len(), entries().len(), "two entries have one title");
}

#[test]
fn texts_are_paragraphs_of_sensible_length() {
    for known in entries() {
        for (text, shortest, longest) in
            [(&known.name, 10, 140), (&known.title, 5, 40), (&known.problem, 200, 600), (&known.remedy, 200, 600)]
        {
            let length = text.chars().count();
            assert!((shortest..=longest).contains(&length), "{}: {length} characters: {text}", known.id);
            assert!(!text.contains(['\n', '\r', '\t', '`']) && !text.contains("  "), "{}: {text}", known.id);
            assert_eq!(text.trim(), text);
        }
        for text in [&known.problem, &known.remedy].into_iter().chain(&known.note) {
            assert!(text.ends_with('.'), "{}: a paragraph ends with a full stop: {text}", known.id);
        }
        assert!(!known.name.starts_with("CWE"), "{}: the name carries its id", known.id);
    }
}

#[test]
fn memory_classes_say_what_they_mean_in_python() {
    for class in MEMORY {
        assert!(entry(&id(class)).unwrap().note.is_some(), "CWE-{class} has no note");
    }
}

#[test]
fn links_are_https_and_start_with_the_definition() {
    for known in entries() {
        let definition = format!("https://cwe.mitre.org/data/definitions/{}.html", known.number().unwrap());
        assert_eq!(known.links.first(), Some(&definition));
        assert!((2..=3).contains(&known.links.len()), "{}: {} links", known.id, known.links.len());
        let unique: BTreeSet<_> = known.links.iter().collect();
        assert_eq!(unique.len(), known.links.len(), "{} has a link twice", known.id);
        for link in &known.links {
            assert!(link.starts_with("https://") && !link.contains(char::is_whitespace), "{}: {link}", known.id);
        }
    }
}

#[test]
fn families_are_symmetric_reflexive_and_as_stated() {
    let families = catalogue().unwrap().families();
    assert!(families.iter().all(|family| family.len() > 1));
    for a in entries() {
        assert!(same_family(&a.id, &a.id));
        for b in entries() {
            let together = families
                .iter()
                .any(|family| family.contains(&a.number().unwrap()) && family.contains(&b.number().unwrap()));
            assert_eq!(same_family(&a.id, &b.id), a.id == b.id || together, "{} and {}", a.id, b.id);
            assert_eq!(same_family(&a.id, &b.id), same_family(&b.id, &a.id), "{} and {}", a.id, b.id);
        }
    }
    assert!(same_family("CWE-77", "CWE-88"));
    assert!(same_family("CWE-862", "CWE-639"));
    assert!(!same_family("CWE-89", "CWE-79"));
    // Not in the catalogue, and yet the same id.
    assert!(same_family("CWE-999999", "cwe-999999"));
    assert!(!same_family("none", "none"));
}

#[test]
fn ids_are_read_leniently_but_not_loosely() {
    assert_eq!(number("CWE-89"), Some(89));
    assert_eq!(number("cwe-089"), Some(89));
    for text in ["", "89", "CWE-", "CWE-+89", "CWE- 89", "CWE-89 ", "CWE_89", "CWEé89", "CWE-99999999999"] {
        assert_eq!(number(text), None, "{text:?}");
        assert!(entry(text).is_none(), "{text:?}");
    }
}

#[test]
fn severities_rise_and_match_their_words() {
    let numbers = Severity::ALL.map(security_severity);
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert_eq!(numbers, [3.0, 5.5, 8.0, 9.5]);
    for severity in Severity::ALL {
        assert!(entries().iter().any(|entry| entry.severity == severity), "no entry is {severity}");
    }
    assert_eq!(format!("{:>9}", Severity::Critical), " critical");
}

fn file(families: &str, ids: &[&str]) -> String {
    let entries = ids.iter().map(|id| {
        format!("[[entry]]\nid = \"{id}\"\nname = \"n\"\ntitle = \"t\"\nseverity = \"low\"\nproblem = \"\"\"a\n  b\"\"\"\nremedy = \"r\"\nlinks = []\n")
    });
    format!("families = {families}\n{}", entries.collect::<String>())
}

#[test]
fn faulty_catalogues_are_refused_with_their_fault() {
    let parse = |text: &str| Catalogue::parse(text).map(|_| ());
    assert_eq!(parse(&file("[[1, 2], [3, 4]]", &["CWE-2", "CWE-1"])), Ok(()));
    assert_eq!(parse(&file("[]", &["CWE-1", "CWE-1"])), Err(CatalogueError::Twice { id: "CWE-1".into() }));
    assert_eq!(parse(&file("[]", &["CWE-01"])), Err(CatalogueError::Id { id: "CWE-01".into() }));
    assert_eq!(parse(&file("[[1, 2], [2, 3]]", &["CWE-1"])), Err(CatalogueError::Families { number: 2 }));
    for text in
        ["not a catalogue", "families = []\nentry = []\nmore = 1", &file("[]", &["CWE-1"]).replace("low", "mild")]
    {
        assert!(matches!(parse(text), Err(CatalogueError::Form { .. })), "{text}");
    }
}

#[test]
fn wrapped_paragraphs_become_one_line() {
    let parsed = Catalogue::parse(&file("[]", &["CWE-1"])).unwrap();
    assert_eq!(parsed.entry("CWE-1").unwrap().problem, "a b");
}
