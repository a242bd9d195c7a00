//! Cutting a unit into windows that fit the model's context.

use std::collections::HashSet;

use crate::lines::shorten;
use crate::unit::{ContextLine, ContextRole, Unit, UnitLine};

/// How to cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOptions {
    /// Tokens that the rendered text of a window may have.
    pub budget: usize,
    /// Windows that one unit may have; what follows is left out.
    pub max_windows: usize,
}

impl WindowOptions {
    /// Windows of at most `budget` tokens, at most 64 of them.
    pub fn new(budget: usize) -> Self {
        Self { budget, max_windows: 64 }
    }
}

/// A piece of a unit for one prefill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What it needs from elsewhere in the file.
    pub context: Vec<ContextLine>,
    /// Its code: the header of the unit, then lines that follow each other.
    pub lines: Vec<UnitLine>,
}

/// The windows of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// The windows, in order. Each overlaps the one before by about a quarter.
    pub windows: Vec<Window>,
    /// The first line of the file that no window shows, if there were too many.
    pub left_out_from: Option<u32>,
}

/// A window as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The context and then the code; every line ends in `\n`.
    pub text: String,
    /// Where each line of the text stands in the file.
    pub lines: Vec<RenderedLine>,
}

/// Where a line of a rendered window comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderedLine {
    /// The line in the file, from 1.
    pub number: u32,
    /// Whether it is context: the unit itself starts after it.
    pub is_context: bool,
}

impl Window {
    /// The text that the model reads.
    pub fn render(&self) -> Rendered {
        let mut rendered = Rendered { text: String::new(), lines: Vec::new() };
        let context = self.context.iter().map(|context| (&context.line, true));
        for (line, is_context) in context.chain(self.lines.iter().map(|line| (line, false))) {
            rendered.text.push_str(&line.text);
            rendered.text.push('\n');
            rendered.lines.push(RenderedLine { number: line.number, is_context });
        }
        rendered
    }
}

/// Cuts a unit into windows of at most `options.budget` tokens, as `count_tokens` counts them.
///
/// A unit that fits stays whole, with as much of its context as fits. A longer one becomes overlapping windows; each
/// starts with the unit's header and has a quarter of the budget for the context that its own lines need. Lines that
/// do not fit by themselves are shortened. Every window has at least one line, and passes the budget only where that
/// is less than a header and a few characters need.
///
/// ```
/// use cloister_source::{Limits, WindowOptions, analyse_source, windows};
///
/// let unit = &analyse_source("def f(x):\n    return x\n", &Limits::default()).units[0];
/// let words = |text: &str| text.split_whitespace().count();
/// let cut = windows(unit, &words, &WindowOptions::new(100));
/// assert_eq!(cut.windows[0].render().text, "def f(x):\n    return x\n");
/// ```
pub fn windows(unit: &Unit, count_tokens: &dyn Fn(&str) -> usize, options: &WindowOptions) -> Windows {
    let cutter = Cutter { unit, count_tokens, budget: options.budget };
    cutter.whole().map_or_else(
        || cutter.pieces(options.max_windows.max(1)),
        |window| Windows { windows: vec![window], left_out_from: None },
    )
}

struct Cutter<'a> {
    unit: &'a Unit,
    count_tokens: &'a dyn Fn(&str) -> usize,
    budget: usize,
}

impl Cutter<'_> {
    fn cost(&self, line: &UnitLine) -> usize {
        (self.count_tokens)(&format!("{}\n", line.text))
    }

    fn whole(&self) -> Option<Window> {
        // A token is at least a byte, mostly more: a long unit is not counted twice.
        let used: usize = self.unit.lines.iter().map(|line| self.cost(line)).sum();
        if used > self.budget {
            return None;
        }
        let context = self.fitting(self.unit.context.clone(), self.budget - used);
        let window = Window { context, lines: self.unit.lines.clone() };
        self.within_budget(window)
    }

    /// The window without as much of its context as keeps it within the budget: a tokenizer may count a text a little
    /// differently from its lines one by one.
    fn within_budget(&self, mut window: Window) -> Option<Window> {
        while (self.count_tokens)(&window.render().text) > self.budget {
            window.context = without_least(&window.context)?;
        }
        Some(window)
    }

    /// The context within a budget: what matters least goes first.
    fn fitting(&self, mut context: Vec<ContextLine>, budget: usize) -> Vec<ContextLine> {
        let mut used: usize = context.iter().map(|context| self.cost(&context.line)).sum();
        while used > budget {
            let Some(fewer) = without_least(&context) else { break };
            context = fewer;
            used = context.iter().map(|context| self.cost(&context.line)).sum();
        }
        context
    }

    fn pieces(&self, most: usize) -> Windows {
        let header = self.header();
        let body = &self.unit.lines[self.unit.header..];
        let body = if body.is_empty() { &self.unit.lines[..] } else { body };
        let header_cost: usize = header.iter().map(|line| self.cost(line)).sum();
        let costs: Vec<usize> = body.iter().map(|line| self.cost(line)).collect();
        let mut windows = Vec::new();
        let mut start = 0;
        while start < body.len() && windows.len() < most {
            // The context is chosen for the lines, and the lines by the room that the context leaves.
            let room = self.budget.saturating_sub(header_cost);
            let reach = end_within(&costs, start, room);
            let context = needed(&self.unit.context, header.iter().chain(&body[start..reach]));
            let context = self.fitting(context, self.budget / 4);
            let context_cost: usize = context.iter().map(|context| self.cost(&context.line)).sum();
            let end = end_within(&costs, start, room.saturating_sub(context_cost));
            let (window, end) = self.piece(&header, context, body, start..end);
            windows.push(window);
            if end == body.len() {
                return Windows { windows, left_out_from: None };
            }
            let overlap = (end - start) / 4;
            start = (end - overlap).max(start + 1);
        }
        // What the last window showed reaches past `start` by the overlap.
        let shown = windows.last().and_then(|window| window.lines.last()).map_or(0, |line| line.number);
        let left_out_from = body.iter().map(|line| line.number).find(|number| *number > shown);
        Windows { windows, left_out_from }
    }

    /// One window, and where its lines end once it is within the budget.
    fn piece(
        &self,
        header: &[UnitLine],
        context: Vec<ContextLine>,
        body: &[UnitLine],
        shown: std::ops::Range<usize>,
    ) -> (Window, usize) {
        let mut end = shown.end;
        let lines = |end: usize| header.iter().chain(&body[shown.start..end]).cloned().collect();
        let mut window = Window { context, lines: lines(end) };
        while (self.count_tokens)(&window.render().text) > self.budget {
            if end > shown.start + 1 {
                end -= 1;
                window.lines = lines(end);
            } else if let Some(fewer) = without_least(&window.context) {
                window.context = fewer;
            } else if !shorten_last(&mut window.lines) {
                break;
            }
        }
        (window, end)
    }

    /// The first lines of the unit that are repeated in every window: within a quarter of the budget, the last ones
    /// first, for they hold the `def`.
    fn header(&self) -> Vec<UnitLine> {
        let all = &self.unit.lines[..self.unit.header.min(self.unit.lines.len())];
        if all.len() == self.unit.lines.len() {
            return Vec::new();
        }
        let mut used = 0;
        let fits = |line: &&UnitLine| {
            used += self.cost(line);
            used <= self.budget / 4
        };
        let mut header: Vec<UnitLine> = all.iter().rev().take_while(fits).cloned().collect();
        header.reverse();
        header
    }
}

/// Where lines from `start` on pass the budget; at least one line on.
fn end_within(costs: &[usize], start: usize, budget: usize) -> usize {
    let mut used = 0;
    let fitting = costs[start..].iter().take_while(|cost| {
        used += **cost;
        used <= budget
    });
    start + fitting.count().max(1)
}

/// The context without its least line, and the lines that belong to it: globals go before attributes and imports, the
/// longest first; the class statement goes last. `None` if there is none.
fn without_least(context: &[ContextLine]) -> Option<Vec<ContextLine>> {
    let rank = |line: &ContextLine| match line.role {
        ContextRole::Global => 3,
        ContextRole::ClassAttribute => 2,
        ContextRole::Import => 1,
        ContextRole::ClassHeader => 0,
    };
    let least = context.iter().max_by_key(|context| (rank(context), context.line.text.len()))?;
    let (role, names) = (least.role, &least.names);
    let number = (role == ContextRole::Import).then_some(least.line.number);
    let goes = |context: &ContextLine| {
        context.role == role && &context.names == names && number.is_none_or(|number| number == context.line.number)
    };
    Some(context.iter().filter(|context| !goes(context)).cloned().collect())
}

/// The context for some lines of a unit: what makes a name in them known, and what makes the names in that known.
fn needed<'a>(context: &[ContextLine], lines: impl Iterator<Item = &'a UnitLine>) -> Vec<ContextLine> {
    let mut known: HashSet<&str> = lines.flat_map(|line| identifiers(&line.text)).collect();
    let is_needed = |context: &ContextLine, known: &HashSet<&str>| {
        context.names.is_empty() || context.names.iter().any(|name| known.contains(name.as_str()))
    };
    let chosen: Vec<bool> = context.iter().map(|line| is_needed(line, &known)).collect();
    for (line, chosen) in context.iter().zip(&chosen) {
        if *chosen {
            known.extend(identifiers(&line.line.text));
        }
    }
    let is_chosen = |(line, chosen): &(&ContextLine, &bool)| {
        **chosen || line.role == ContextRole::Import && is_needed(line, &known)
    };
    context.iter().zip(&chosen).filter(is_chosen).map(|(line, _)| line.clone()).collect()
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

/// Halves the last line that can still be halved; `false` if there is none.
fn shorten_last(lines: &mut [UnitLine]) -> bool {
    for line in lines.iter_mut().rev() {
        let count = line.text.chars().count();
        if count > 16 {
            line.text = shorten(&line.text, count / 2, (count / 4, count / 8));
            return true;
        }
    }
    false
}
