//! The embedded data file, parsed once and checked as it is parsed.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Severity;

const SOURCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/catalogue/cwe.toml"));

/// The embedded catalogue, parsed at the first call.
///
/// # Errors
/// The fault of the embedded file, the same at every call. A released program never sees one: the tests of this crate
/// read the same file.
pub fn catalogue() -> Result<&'static Catalogue, &'static CatalogueError> {
    static CATALOGUE: OnceLock<Result<Catalogue, CatalogueError>> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue::parse(SOURCE)).as_ref()
}

/// What is known of one class of weakness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The id, such as `CWE-89`.
    pub id: String,
    /// MITRE's official name.
    pub name: String,
    /// A few words for a list of findings.
    pub title: String,
    /// How bad the usual consequence is.
    pub severity: Severity,
    /// What is wrong: one paragraph of plain text on one line, without markup.
    #[serde(deserialize_with = "paragraph")]
    pub problem: String,
    /// How to mend it in Python: one paragraph of plain text on one line, without markup.
    #[serde(deserialize_with = "paragraph")]
    pub remedy: String,
    /// Where to read on: MITRE's definition first, then guides and documentation, all https.
    pub links: Vec<String>,
    /// For a class that has little meaning in Python: what it can mean there.
    #[serde(default, deserialize_with = "optional_paragraph", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Entry {
    /// The number of the id: 89 for `CWE-89`. A parsed catalogue holds only entries that have one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        crate::number(&self.id)
    }
}

/// A text on one line: the file wraps its paragraphs, and no reader of them should have to know.
fn paragraph<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let text = String::deserialize(source)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn optional_paragraph<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    paragraph(source).map(Some)
}

/// Why a catalogue could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The text is not TOML, or an entry lacks a field or has one too many.
    #[error("the catalogue is not in the expected form: {message}. Compare it with assets/catalogue/cwe.toml.")]
    Form {
        /// What the parser says, with line and column.
        message: String,
    },
    /// An entry's id is not `CWE-` and a number without leading zeros.
    #[error("\"{id}\" is no CWE id. Write it as MITRE does, for instance CWE-89.")]
    Id {
        /// The id as written.
        id: String,
    },
    /// Two entries have one id.
    #[error("{id} is in the catalogue twice. Keep one of the two entries.")]
    Twice {
        /// The id.
        id: String,
    },
    /// A class is in two families, so that "same family" would not carry over from class to class.
    #[error("CWE-{number} is in more than one family. Keep it in one, or join the families.")]
    Families {
        /// The number of the class.
        number: u32,
    },
}

/// Entries and families, checked: ids are well formed and unique, and no class is in two families.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    families: Vec<Vec<u32>>,
}

/// The data file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    families: Vec<Vec<u32>>,
    entry: Vec<Entry>,
}

impl Catalogue {
    /// Reads the text of a catalogue file.
    ///
    /// # Errors
    /// The first fault found, see [`CatalogueError`].
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let File { families, entry } = toml::from_str(text)
            .map_err(|error| CatalogueError::Form { message: error.to_string().trim().to_owned() })?;

        let mut numbered = Vec::with_capacity(entry.len());
        for entry in entry {
            match entry.number() {
                Some(number) if entry.id == format!("CWE-{number}") => numbered.push((number, entry)),
                _ => return Err(CatalogueError::Id { id: entry.id }),
            }
        }
        // Sorted once, so that an entry is found by binary search and every listing has the same order.
        numbered.sort_by_key(|(number, _)| *number);
        if let Some(pair) = numbered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(CatalogueError::Twice { id: pair[0].1.id.clone() });
        }

        let mut seen = BTreeSet::new();
        if let Some(&number) = families.iter().flatten().find(|number| !seen.insert(**number)) {
            return Err(CatalogueError::Families { number });
        }
        Ok(Self { entries: numbered.into_iter().map(|(_, entry)| entry).collect(), families })
    }

    /// The entry of a class, or `None` where there is none.
    #[must_use]
    pub fn entry(&self, cwe: &str) -> Option<&Entry> {
        let number = crate::number(cwe)?;
        let at = self.entries.binary_search_by_key(&Some(number), Entry::number).ok()?;
        self.entries.get(at)
    }

    /// All entries, in ascending order of their numbers.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The families: numbers of classes that count as one where an exact id is too strict. No number is in two.
    #[must_use]
    pub fn families(&self) -> &[Vec<u32>] {
        &self.families
    }

    /// Whether one family holds both numbers.
    pub(crate) fn share_family(&self, a: u32, b: u32) -> bool {
        self.families.iter().any(|family| family.contains(&a) && family.contains(&b))
    }
}
