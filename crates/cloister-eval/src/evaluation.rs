//! From rows and predictions to figures.

use crate::{
    EvalError, Interval, Metric, Options, Prediction, Row,
    bootstrap::bootstrap,
    counts::Counts,
    join::{Case, join},
    metric::right,
    row::{cwe_number, weakness},
    wilson,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The figures of a set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How often the bootstrap drew.
    pub resamples: usize,
    /// The seed of the bootstrap.
    pub seed: u64,
    /// Over all rows.
    pub overall: Summary,
    /// For each CWE id among the weak rows, in the order of the numbers.
    pub per_cwe: Vec<CweSummary>,
}

/// The figures of one CWE: of its weak rows and the safe rows of their groups. Safe rows of other groups are nobody's and
/// count only overall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CweSummary {
    /// The CWE id.
    pub cwe: String,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Figures over some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of rows.
    pub n: u64,
    /// Number of weak rows.
    pub weak: u64,
    /// Number of safe rows.
    pub safe: u64,
    /// Number of groups.
    pub groups: u64,
    /// Every metric.
    pub metrics: BTreeMap<Metric, Measure>,
    /// Wilson's interval of the accuracy.
    pub accuracy_wilson: Option<Interval>,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Its value; `None` where the metric is undefined, as the false-positive rate is without safe rows.
    pub value: Option<f64>,
    /// Its 95% bootstrap interval by group; `None` where the value is, or with fewer than two groups.
    pub interval: Option<Interval>,
}

/// The figures of `predictions` on `rows`. `same_family(a, b)` says whether two CWE ids are of one family; an id is always
/// of its own.
///
/// # Errors
/// Where an id stands twice, a row has no prediction or a prediction no row, or a value makes no sense.
pub fn evaluate(
    rows: &[Row],
    predictions: &[Prediction],
    same_family: impl Fn(&str, &str) -> bool,
    options: &Options,
) -> Result<Evaluation, EvalError> {
    let groups = join(rows, predictions)?;
    let summary = |groups: &[Vec<Case>]| {
        let mut clusters: BTreeMap<&str, Counts> = BTreeMap::new();
        for group in groups {
            let Some(row) = group.first().map(|case| case.row) else { continue };
            let cluster = row.cluster.as_deref().unwrap_or(&row.group);
            *clusters.entry(cluster).or_default() += &Counts::of(group, &same_family);
        }
        summarise(groups.len(), &clusters.into_values().collect::<Vec<_>>(), options)
    };
    let cwes: BTreeSet<(Option<u32>, &str)> =
        rows.iter().filter_map(weakness).map(|cwe| (cwe_number(cwe), cwe)).collect();
    let per_cwe = cwes
        .into_iter()
        .map(|(_, cwe)| CweSummary { cwe: cwe.to_owned(), summary: summary(&only(&groups, cwe)) })
        .collect();
    Ok(Evaluation { resamples: options.resamples, seed: options.seed, overall: summary(&groups), per_cwe })
}

/// The groups that have the weakness, without their rows of other weaknesses.
fn only<'a>(groups: &[Vec<Case<'a>>], cwe: &str) -> Vec<Vec<Case<'a>>> {
    let has = |group: &&Vec<Case>| group.iter().any(|case| weakness(case.row) == Some(cwe));
    let keep = |case: &&Case| case.row.safe || weakness(case.row) == Some(cwe);
    groups.iter().filter(has).map(|group| group.iter().filter(keep).copied().collect()).collect()
}

fn summarise(groups: usize, clusters: &[Counts], options: &Options) -> Summary {
    let mut counts = Counts::default();
    for cluster in clusters {
        counts += cluster;
    }
    let intervals = bootstrap(clusters, options);
    let measure = |metric: Metric| Measure { value: metric.of(&counts), interval: intervals.get(&metric).copied() };
    Summary {
        n: counts.rows(),
        weak: counts.weak,
        safe: counts.safe,
        groups: groups as u64,
        metrics: Metric::ALL.into_iter().map(|metric| (metric, measure(metric))).collect(),
        accuracy_wilson: wilson(right(&counts), counts.rows()),
    }
}

impl Summary {
    /// The value of a metric; `None` where it is undefined.
    #[must_use]
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(&metric)?.value
    }

    /// The bootstrap interval of a metric; `None` where there is none.
    #[must_use]
    pub fn interval(&self, metric: Metric) -> Option<Interval> {
        self.metrics.get(&metric)?.interval
    }
}
