//! How far in each line stands: by its block and its brackets alone, so that nobody's habits reach the model.

use ruff_python_ast::token::TokenKind;

use crate::outline::Token;

/// Columns of a block or bracket, as most Python has it.
const STEP: usize = 4;

/// Deeper brackets stand no further in.
const MAX_BRACKETS: usize = 3;

/// Deeper blocks stand no further in either: the code of a line matters more than how far to the right it is.
const MAX_LEVELS: usize = 40;

/// Tab stops, as Python counts them.
const TAB: usize = 8;

/// Where the first token of a line starts, and the columns before it.
#[derive(Debug, Clone, Copy)]
struct Lead {
    start: usize,
    columns: usize,
}

/// The indentation of the lines that begin with a token. Lines that begin inside a string have none.
#[derive(Debug, Default)]
pub(crate) struct Layout(Vec<Lead>);

impl Layout {
    /// Reads it from the tokens of a text, comments and line ends inside brackets left out.
    pub(crate) fn read(text: &str, tokens: &[Token]) -> Self {
        let mut leads = Vec::new();
        // The widths of the blocks around the current line.
        let mut blocks: Vec<usize> = Vec::new();
        let mut brackets = 0usize;
        let mut begins = true;
        // Where the token before ends, and whether its line does.
        let (mut end, mut ended) = (0, true);
        for token in tokens {
            // These have no text of their own: an indent is the white space before the first token.
            if matches!(token.kind, TokenKind::Indent | TokenKind::Dedent) {
                continue;
            }
            let between = &text[end.min(token.bytes.start)..token.bytes.start];
            end = token.bytes.end;
            if token.kind == TokenKind::Newline {
                (begins, ended) = (true, true);
                // A bracket that is never closed ends with its statement, where the parser says that it does.
                brackets = 0;
                continue;
            }
            let closes = matches!(token.kind, TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace);
            if closes {
                brackets = brackets.saturating_sub(1);
            }
            // A comment before the token ends with its line: what is left of the first one are blanks.
            let line = between.rfind(['\n', '\r']).map(|at| at + 1).or(ended.then_some(0));
            ended = false;
            if let Some(line) = line {
                let before = between[line..].trim_start_matches('\u{feff}');
                if begins {
                    let width = width(before);
                    while blocks.last().is_some_and(|block| *block > width) {
                        blocks.pop();
                    }
                    if blocks.last().is_none_or(|block| *block < width) {
                        blocks.push(width);
                    }
                }
                // What goes on behind a backslash stands in like what goes on in a bracket; what closes one does not.
                let inner = brackets.max(usize::from(!begins && !closes)).min(MAX_BRACKETS);
                let levels = blocks.len().saturating_sub(1) + inner;
                leads.push(Lead { start: token.bytes.start, columns: levels.min(MAX_LEVELS) * STEP });
            }
            begins = false;
            if matches!(token.kind, TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace) {
                brackets += 1;
            }
        }
        Self(leads)
    }

    /// The columns before the first token of a line, if it begins with one.
    pub(crate) fn columns(&self, line: &std::ops::Range<usize>) -> Option<usize> {
        let first = self.0.partition_point(|lead| lead.start < line.start);
        self.0.get(first).filter(|lead| lead.start < line.end).map(|lead| lead.columns)
    }
}

fn width(blanks: &str) -> usize {
    blanks.chars().fold(0, |width, blank| match blank {
        '\t' => (width / TAB + 1) * TAB,
        // A form feed begins the line anew.
        '\u{c}' => 0,
        _ => width + 1,
    })
}
