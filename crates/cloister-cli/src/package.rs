//! Where the model package is.

use crate::error::CliError;
use cloister_package::MANIFEST_FILE;
use std::path::{Path, PathBuf};

/// The package's place in the project and in an installed copy of it.
const PLACE: &str = "assets/model";

/// The folder given, or the first place that holds a manifest: `assets/model` in this folder or one above it, then
/// beside the program or in a folder above that, as in a build folder inside the project.
///
/// # Errors
/// [`CliError::NoPackage`] names the places that were looked at.
pub fn find(given: Option<&Path>) -> Result<PathBuf, CliError> {
    let candidates = match given {
        Some(folder) => vec![folder.to_path_buf()],
        None => default_places(std::env::current_dir().ok(), std::env::current_exe().ok()),
    };
    match candidates.iter().find(|folder| folder.join(MANIFEST_FILE).is_file()) {
        Some(folder) => Ok(folder.clone()),
        None => Err(CliError::NoPackage(shortened(candidates))),
    }
}

fn default_places(current: Option<PathBuf>, program: Option<PathBuf>) -> Vec<PathBuf> {
    let beside = program.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let mut places: Vec<PathBuf> = Vec::new();
    for start in [current, beside].into_iter().flatten() {
        for place in start.ancestors().map(|folder| folder.join(PLACE)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// The first places are enough for a message.
fn shortened(mut places: Vec<PathBuf>) -> Vec<PathBuf> {
    places.truncate(3);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_place_comes_first() {
        let places = default_places(Some("/home/me/project/src".into()), Some("/opt/cloister/bin/cloister".into()));
        assert_eq!(places[0], Path::new("/home/me/project/src/assets/model"));
        assert_eq!(places[1], Path::new("/home/me/project/assets/model"));
        assert!(places.contains(&PathBuf::from("/opt/cloister/assets/model")));
    }

    #[test]
    fn a_missing_package_is_told_with_what_to_do() {
        let error = find(Some(Path::new("no/such/folder"))).unwrap_err().to_string();
        assert!(error.contains("no/such/folder") && error.contains("--package"), "{error}");
    }
}
