//! Rows brought together with their predictions, by group.

use crate::{EvalError, Prediction, Record, Row};
use std::collections::{BTreeMap, HashMap};

/// A row and what was predicted for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub row: &'a Row,
    pub prediction: &'a Prediction,
}

/// The cases of each group, groups in the order of their names: the order in which a file lists its rows must not change
/// what the bootstrap draws.
pub(crate) fn join<'a>(rows: &'a [Row], predictions: &'a [Prediction]) -> Result<Vec<Vec<Case<'a>>>, EvalError> {
    let by_id = index("rows", rows)?;
    let predicted = index("predictions", predictions)?;
    let unknown = predictions.iter().map(|prediction| &prediction.id).filter(|id| !by_id.contains_key(id.as_str()));
    if let Some((id, count)) = first_and_count(unknown) {
        return Err(EvalError::UnknownPrediction { id, count });
    }
    let missing = rows.iter().map(|row| &row.id).filter(|id| !predicted.contains_key(id.as_str()));
    if let Some((id, count)) = first_and_count(missing) {
        return Err(EvalError::MissingPrediction { id, count });
    }
    let mut groups: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for row in rows {
        if let Some(&prediction) = predicted.get(row.id.as_str()) {
            groups.entry(&row.group).or_default().push(Case { row, prediction });
        }
    }
    Ok(groups.into_values().collect())
}

fn index<'a, T: Record>(what: &'static str, records: &'a [T]) -> Result<HashMap<&'a str, &'a T>, EvalError> {
    let mut by_id = HashMap::with_capacity(records.len());
    for record in records {
        record.check().map_err(|problem| EvalError::Invalid { id: record.id().to_owned(), problem })?;
        if by_id.insert(record.id(), record).is_some() {
            return Err(EvalError::Duplicate { what, id: record.id().to_owned() });
        }
    }
    Ok(by_id)
}

fn first_and_count<'a>(mut ids: impl Iterator<Item = &'a String>) -> Option<(String, usize)> {
    let first = ids.next()?.clone();
    Some((first, 1 + ids.count()))
}
