//! The classes of weakness that Cloister knows, from `assets/catalogue/cwe.toml`: what each is called, how bad it is, what
//! is wrong, how to mend it, and which belong together.
//!
//! What a user reads about a finding comes from here and never from the model.
//!
//! ```
//! use cloister_catalogue::{entry, same_family};
//!
//! assert!(entry("CWE-89").is_some_and(|entry| entry.title == "SQL injection"));
//! assert!(same_family("CWE-89", "CWE-943"));
//! ```

mod catalogue;
mod severity;
#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, CatalogueError, Entry, catalogue};
pub use severity::{Severity, security_severity};

/// The numbers of MITRE's 2024 CWE Top 25 Most Dangerous Software Weaknesses, in the order of the list.
pub const TOP_25_OF_2024: [u32; 25] = [
    79, 787, 89, 352, 22, 125, 78, 416, 862, 434, 94, 20, 77, 287, 269, 502, 200, 863, 918, 119, 476, 798, 190, 400,
    306,
];

/// All entries of the embedded catalogue, in ascending order of their numbers.
#[must_use]
pub fn entries() -> &'static [Entry] {
    catalogue().map_or(&[], Catalogue::entries)
}

/// The entry of a class, such as `CWE-89`, or `None` where there is none.
#[must_use]
pub fn entry(cwe: &str) -> Option<&'static Entry> {
    catalogue().ok()?.entry(cwe)
}

/// Whether two ids name the same kind of flaw: they are one id, or one family holds both. What is no id has no family.
#[must_use]
pub fn same_family(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (number(a), number(b)) else { return false };
    a == b || catalogue().is_ok_and(|catalogue| catalogue.share_family(a, b))
}

/// The number of an id: 89 for `CWE-89`. Lower case and leading zeros are understood; anything else is no id.
#[must_use]
pub fn number(cwe: &str) -> Option<u32> {
    let digits = cwe.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("CWE-")).and_then(|_| cwe.get(4..))?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}
