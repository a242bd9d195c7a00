//! Training examples: what the engine would read of a text, with the answer and the lines.

use crate::TrainError;
use crate::corpus::CorpusUnit;
use crate::finetune::Answers;
use cloister_data::{Change, Module, Mutation, Pair, Pattern, insert, rename_twins, weak_lines, with_imports};
use cloister_engine::{PromptTemplate, Tokenizer};
use cloister_source::{Limits, WindowOptions, analyse_source, windows};
use rand::Rng;
use similar::{Algorithm, DiffTag, capture_diff_slices};
use std::collections::{BTreeMap, BTreeSet};

/// How many of the twins made of real functions have other names.
const RENAMED: f64 = 0.2;

/// How many of their names those change.
const RENAMED_SHARE: f64 = 0.7;

/// One prompt with its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The prompt's tokens.
    pub ids: Vec<u32>,
    /// Index of the answer in the label set.
    pub label: usize,
    /// Positions of the ends of the unit's own lines.
    pub line_ends: Vec<usize>,
    /// Indices into `line_ends` of the lines that carry the weakness.
    pub weak: Vec<usize>,
    /// Of a safe twin: indices into `line_ends` of the lines that stand where its twin's weak ones do.
    pub mended: Vec<usize>,
}

impl Example {
    /// The tokens of each of the unit's own lines. The first line's begin is not known: only its last token counts.
    fn lines(&self) -> Vec<&[u32]> {
        let before = self.line_ends.first().copied();
        let starts = before.into_iter().chain(self.line_ends.iter().map(|end| end + 1));
        starts.zip(&self.line_ends).map(|(start, end)| &self.ids[start..=*end]).collect()
    }

    /// Finds the lines of a safe twin that stand where the weak lines of `weak` do: the same line where the fix is
    /// elsewhere, else what the fix has put in its place.
    fn mark_mended(&mut self, weak: &Self) {
        let operations = capture_diff_slices(Algorithm::Myers, &weak.lines(), &self.lines());
        let mut mended = Vec::new();
        for operation in operations {
            let (old, new) = (operation.old_range(), operation.new_range());
            let equal = operation.tag() == DiffTag::Equal;
            for line in weak.weak.iter().filter(|line| old.contains(line)) {
                mended.extend(if equal { vec![new.start + line - old.start] } else { new.clone().collect() });
            }
        }
        // A block that several weak lines stand in has been added for each.
        mended.sort_unstable();
        mended.dedup();
        self.mended = mended;
    }
}

/// Examples that belong in the same batch: a weak one and its safe twin, or a single one.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The examples; of twins the weak one is first.
    pub examples: Vec<Example>,
    /// Whether the first two are twins.
    pub twins: bool,
}

impl Item {
    /// A weak example and its safe twin.
    fn twins(mut examples: Vec<Example>) -> Self {
        if let [weak, safe] = examples.as_mut_slice() {
            safe.mark_mended(weak);
        }
        Self { examples, twins: true }
    }

    /// The longest example's tokens.
    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.ids.len()).max().unwrap_or(0)
    }
}

/// Makes examples for one tokenizer, prompt and label set.
pub struct ExampleMaker {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The texts around the code.
    pub template: PromptTemplate,
    /// Index of each label, "none" included.
    pub labels: BTreeMap<String, usize>,
    /// The token that answers each label.
    pub answers: Answers,
    /// Tokens of the context.
    pub context: usize,
}

impl ExampleMaker {
    /// The engine's windows of a text. A window that holds a weak line gets the label, any other "none".
    ///
    /// # Errors
    /// [`TrainError`] where a text cannot be encoded.
    pub fn windows(&self, code: &str, weak: &[u32], label: usize) -> Result<Vec<(String, Example)>, TrainError> {
        self.windows_of(code, None, weak, label)
    }

    /// The same of the unit of one name alone.
    fn windows_of(
        &self,
        code: &str,
        wanted: Option<&str>,
        weak: &[u32],
        label: usize,
    ) -> Result<Vec<(String, Example)>, TrainError> {
        let budget = self.template.budget(self.context);
        let count = |text: &str| self.tokenizer.encode(text).map_or(usize::MAX, |encoded| encoded.ids.len());
        let mut made = Vec::new();
        for unit in analyse_source(code, &Limits::default()).units {
            if wanted.is_some_and(|wanted| unit.name != wanted) {
                continue;
            }
            for window in windows(&unit, &count, &WindowOptions::new(budget)).windows {
                let rendered = window.render();
                let prompt = self.template.prompt(&self.tokenizer, &rendered.text)?;
                let own = rendered.lines.iter().zip(&prompt.line_ends).filter(|(line, _)| !line.is_context);
                let (numbers, line_ends): (Vec<u32>, Vec<usize>) =
                    own.map(|(line, position)| (line.number, *position)).unzip();
                let weak: Vec<usize> = (0..numbers.len()).filter(|index| weak.contains(&numbers[*index])).collect();
                let label = if weak.is_empty() { self.answers.none } else { label };
                made.push((unit.name.clone(), Example { ids: prompt.ids, label, line_ends, weak, mended: Vec::new() }));
            }
        }
        Ok(made)
    }

    /// An authored pair, some of its locals renamed: twins of the units that carry the weakness, and the rest alone.
    ///
    /// # Errors
    /// [`TrainError`] where a weak line is not there or a text cannot be encoded.
    pub fn pair(&self, pair: &Pair, rename: f64, rng: &mut impl Rng) -> Result<Vec<Item>, TrainError> {
        let lines = weak_lines(pair)?;
        let (weak, fixed) = rename_twins(&pair.vulnerable, &pair.fixed, rename, rng)
            .unwrap_or_else(|| (pair.vulnerable.clone(), pair.fixed.clone()));
        let Some(&label) = self.labels.get(&pair.cwe) else { return Ok(Vec::new()) };
        let mut fixed = self.windows(&fixed, &[], label)?;
        let mut items = Vec::new();
        for (name, example) in self.windows(&weak, &lines, label)? {
            let twin = fixed.iter().position(|(other, _)| *other == name);
            let mut examples = vec![example];
            examples.extend(twin.map(|index| fixed.remove(index).1));
            // A unit that the fix leaves alone is the same text twice.
            examples.dedup_by(|b, a| a.ids == b.ids);
            let twins = examples.len() == 2 && examples[0].label != self.answers.none;
            items.push(if twins { Item::twins(examples) } else { Item { examples, twins } });
        }
        items.extend(fixed.into_iter().map(|(_, example)| Item { examples: vec![example], twins: false }));
        Ok(items)
    }

    /// A function of an authored module with one change in it, and the same without, some of its locals renamed. `None` where
    /// the model has no answer for it.
    ///
    /// # Errors
    /// [`TrainError`] where the change cannot be made or a text cannot be encoded.
    pub fn changed(
        &self,
        module: &Module,
        change: &Change,
        variant: usize,
        rename: f64,
        rng: &mut impl Rng,
    ) -> Result<Option<Item>, TrainError> {
        let Some(&label) = self.labels.get(&change.cwe) else { return Ok(None) };
        let Some((weak, lines)) = module.changed(change, variant)? else { return Ok(None) };
        let (weak, safe) =
            rename_twins(&weak, &module.text, rename, rng).unwrap_or_else(|| (weak.clone(), module.text.clone()));
        let wanted = Some(change.function.as_str());
        let mut weak = self.windows_of(&weak, wanted, &lines, label)?;
        let mut safe = self.windows_of(&safe, wanted, &[], label)?;
        let Some(index) = weak.iter().position(|(_, example)| example.label != self.answers.none) else {
            return Ok(None);
        };
        if index >= safe.len() {
            return Ok(None);
        }
        Ok(Some(Item::twins(vec![weak.swap_remove(index).1, safe.swap_remove(index).1])))
    }

    /// A pattern inside a real function, and the safe form of another one as a `bystander`; `None` where they do not go
    /// together or the result is too long.
    ///
    /// # Errors
    /// [`TrainError`] where a text cannot be encoded.
    pub fn inserted(
        &self,
        pattern: &Pattern,
        bystander: Option<&Pattern>,
        host: &CorpusUnit,
        rng: &mut impl Rng,
    ) -> Result<Option<Item>, TrainError> {
        let Some(&label) = self.labels.get(&pattern.cwe) else { return Ok(None) };
        let (context, body) = host.text.split_at(host.body_start());
        let mut body = body.to_string();
        let mut names = BTreeSet::new();
        if let Some(bystander) = bystander {
            let Some(made) = insert(bystander, &body, &names, rng) else { return Ok(None) };
            (body, names) = (made.safe, made.names);
        }
        // What the bystander has made safe is not data from outside.
        let Some(made) = insert(pattern, &body, &names, rng) else { return Ok(None) };
        let imports = pattern.imports.iter().chain(bystander.iter().flat_map(|bystander| &bystander.imports));
        let (context, imports) = with_imports(context, imports.map(String::as_str));
        let (weak, safe) = (format!("{context}{}", made.weak), format!("{context}{}", made.safe));
        let lines: Vec<usize> = made.lines.iter().map(|line| *line as usize - 1).collect();
        self.twins(&weak, &safe, label, host.context + imports, lines, rng)
    }

    /// A real function with one of its protections taken out, and the original; `None` where the result is too long.
    ///
    /// # Errors
    /// [`TrainError`] where a text cannot be encoded.
    pub fn mutated(
        &self,
        mutation: &Mutation,
        host: &CorpusUnit,
        rng: &mut impl Rng,
    ) -> Result<Option<Item>, TrainError> {
        let Some(&label) = self.labels.get(mutation.cwe) else { return Ok(None) };
        let Some(made) = mutation.apply(&host.text) else { return Ok(None) };
        let own = host.context + made.imports;
        let lines = made.lines.iter().filter_map(|line| (*line as usize).checked_sub(own + 1)).collect();
        self.twins(&made.weak, &made.safe, label, own, lines, rng)
    }

    /// Twins whose own lines begin at the 0-based line `own`; `weak_lines` count from there. Some have other names for their
    /// locals: the answer is not to hang on them.
    fn twins(
        &self,
        weak: &str,
        safe: &str,
        label: usize,
        own: usize,
        weak_lines: Vec<usize>,
        rng: &mut impl Rng,
    ) -> Result<Option<Item>, TrainError> {
        let renamed = if rng.random_bool(RENAMED) { renamed(weak, safe, own, rng) } else { None };
        let (weak, safe) = renamed.as_ref().map_or((weak, safe), |(weak, safe)| (weak.as_str(), safe.as_str()));
        let mut examples = Vec::with_capacity(2);
        for (text, label, weak) in [(weak, label, weak_lines), (safe, self.answers.none, Vec::new())] {
            let prompt = self.template.prompt(&self.tokenizer, text)?;
            if prompt.ids.len() > self.context {
                return Ok(None);
            }
            examples.push(Example {
                ids: prompt.ids,
                label,
                line_ends: prompt.line_ends[own..].to_vec(),
                weak,
                mended: Vec::new(),
            });
        }
        Ok(Some(Item::twins(examples)))
    }

    /// A real function as it is; `None` where it is too long.
    ///
    /// # Errors
    /// [`TrainError`] where the text cannot be encoded.
    pub fn ordinary(&self, host: &CorpusUnit) -> Result<Option<Example>, TrainError> {
        let prompt = self.template.prompt(&self.tokenizer, &host.text)?;
        if prompt.ids.len() > self.context {
            return Ok(None);
        }
        let line_ends = prompt.line_ends[host.context..].to_vec();
        Ok(Some(Example { ids: prompt.ids, label: self.answers.none, line_ends, weak: Vec::new(), mended: Vec::new() }))
    }
}

/// Twins with other names behind the 0-based line `own`: what stands before need not be whole.
fn renamed(weak: &str, safe: &str, own: usize, rng: &mut impl Rng) -> Option<(String, String)> {
    let start = match own.checked_sub(1) {
        Some(last) => weak.match_indices('\n').nth(last)?.0 + 1,
        None => 0,
    };
    let (context, weak) = weak.split_at(start);
    let (weak, safe) = rename_twins(weak, safe.get(start..)?, RENAMED_SHARE, rng)?;
    Some((format!("{context}{weak}"), format!("{context}{safe}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token a line, after two of context.
    fn example(lines: &[u32], weak: &[usize]) -> Example {
        let ids: Vec<u32> = [7, 8].iter().chain(lines).copied().collect();
        Example { ids, label: 0, line_ends: (2..2 + lines.len()).collect(), weak: weak.to_vec(), mended: Vec::new() }
    }

    fn mended(weak: Example, safe: &[u32]) -> Vec<usize> {
        Item::twins(vec![weak, example(safe, &[])]).examples.remove(1).mended
    }

    #[test]
    fn the_line_that_the_fix_changes_is_mended() {
        assert_eq!(mended(example(&[1, 2, 3, 4], &[2]), &[1, 2, 9, 4]), [2]);
        assert_eq!(mended(example(&[1, 2, 3, 4], &[2]), &[1, 2, 9, 10, 4]), [2, 3]);
    }

    #[test]
    fn the_same_line_is_mended_where_the_fix_is_elsewhere() {
        assert_eq!(mended(example(&[1, 2, 3, 4], &[2]), &[1, 9, 2, 3, 4]), [3]);
        assert_eq!(mended(example(&[1, 2, 3, 4], &[2]), &[1, 3, 4]), [1]);
    }

    #[test]
    fn a_line_that_the_fix_takes_away_leaves_none() {
        assert_eq!(mended(example(&[1, 2, 3, 4], &[2]), &[1, 2, 4]), Vec::<usize>::new());
        assert_eq!(mended(example(&[1, 2], &[0, 1]), &[3]), [0]);
        assert_eq!(mended(example(&[1, 2, 3], &[1, 2]), &[1, 8, 9]), [1, 2]);
    }
}
