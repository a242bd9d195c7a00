//! A guard before the parser: code that nests too deeply is left out, so that no text can exhaust the stack.
//!
//! The parser descends one level per bracket and block, and freeing its tree descends one level per operator of a
//! chain such as `a.b.c` or `a + b + c`. In a browser the stack holds about a thousand such levels. Every logical line
//! is therefore weighed over its tokens, which needs no recursion, and a line over the limit is replaced by `pass`.

use std::borrow::Cow;
use std::ops;

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::Ranged;

use crate::notice::{Notice, NoticeKind};
use crate::text::SourceText;

/// The weight of a logical line, with the blocks around it, that is still parsed. A release build for the browser parses
/// it with a quarter of the stack.
const LIMIT: u32 = 2_250;
/// A block: 100 are accepted, as by CPython.
const BLOCK: u32 = 22;
/// A bracket or another construct for which the parser calls itself: 200 are accepted, as by CPython.
const BRACKET: u32 = 10;
/// An operator of a chain, which makes the tree deeper but not the parser.
const CHAIN: u32 = 1;

/// What is parsed in place of a line that was left out.
const PLACEHOLDER: &str = "pass";

/// The parts of the text that were left out because they nest too deeply.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    bytes: ops::Range<usize>,
    /// Whether it follows a part that was left out as well, so that one placeholder stands for both.
    continues: bool,
}

impl LeftOut {
    /// The places left out, each with what stands there instead.
    pub(crate) fn edits(&self) -> impl Iterator<Item = (ops::Range<usize>, &'static str)> {
        self.parts.iter().map(|part| (part.bytes.clone(), part.replacement()))
    }

    /// The remark to the user, if anything was left out.
    pub(crate) fn notice(&self, source: &SourceText<'_>) -> Option<Notice> {
        let first = self.parts.first()?;
        let range = source.range(first.bytes.clone());
        let message = format!(
            "Line {} and {} more statements nest more deeply than 100 blocks or 200 brackets, or chain thousands of \
             operators: they were left out. Split them to have them checked.",
            range.start.line,
            self.parts.len() - 1
        );
        Some(Notice::new(NoticeKind::Truncated, message, Some(range)))
    }
}

impl Part {
    fn replacement(&self) -> &'static str {
        if self.continues || self.bytes.len() < PLACEHOLDER.len() { "" } else { PLACEHOLDER }
    }
}

/// The text with every offset unchanged, but safe to parse: without the parts that nest too deeply, and without NULs,
/// which the parser takes for the end of the text.
pub(crate) fn make_parseable(text: &str) -> (Cow<'_, str>, LeftOut) {
    let text: Cow<'_, str> =
        if text.contains('\0') { Cow::Owned(text.replace('\0', " ")) } else { Cow::Borrowed(text) };
    let left_out = Weigher::new(&text).run();
    if left_out.parts.is_empty() {
        return (text, left_out);
    }
    let mut kept = String::with_capacity(text.len());
    let mut reached = 0;
    for part in &left_out.parts {
        kept.push_str(&text[reached..part.bytes.start]);
        let replacement = part.replacement();
        kept.push_str(replacement);
        // Line ends stay, for the line numbers; everything else becomes as many spaces as it had bytes.
        let blanked = text.as_bytes()[part.bytes.clone()].iter().skip(replacement.len());
        kept.extend(blanked.map(|byte| if matches!(byte, b'\n' | b'\r') { char::from(*byte) } else { ' ' }));
        reached = part.bytes.end;
    }
    kept.push_str(&text[reached..]);
    (Cow::Owned(kept), left_out)
}

/// The tokens of the text, by the parser's own lexer, without parsing it: as an expression the text ends after the
/// first line, and the parser only collects the tokens of the rest.
fn tokens(text: &str) -> Vec<(TokenKind, ops::Range<usize>)> {
    const FIRST_LINE: &str = "0\n";
    let mark = text.len() - text.trim_start_matches('\u{feff}').len();
    let lexed = parse_unchecked(&format!("{FIRST_LINE}{}", &text[mark..]), ParseOptions::from(Mode::Expression));
    lexed
        .tokens()
        .iter()
        .filter_map(|token| {
            let start = token.start().to_usize().checked_sub(FIRST_LINE.len())? + mark;
            Some((token.kind(), start..token.end().to_usize() - FIRST_LINE.len() + mark))
        })
        .collect()
}

/// One open bracket or f-string, or the logical line itself.
#[derive(Debug)]
struct Frame {
    opener: Option<TokenKind>,
    weight: u32,
    /// `lambda`s whose colon has not come: commas up to there separate parameters.
    lambdas: u32,
}

struct Weigher<'a> {
    text: &'a str,
    frames: Vec<Frame>,
    /// The widths of the indentations around the current line.
    indentations: Vec<usize>,
    weight: u32,
    line_start: Option<usize>,
    line_end: usize,
    too_deep: bool,
    before_too_deep: bool,
    previous: Option<TokenKind>,
    previous_is_prefix: bool,
    previous_end: usize,
    /// How far the text was searched for line ends, and where the last line starts.
    scanned: usize,
    line: usize,
    found: LeftOut,
}

impl<'a> Weigher<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            frames: Vec::new(),
            indentations: Vec::new(),
            weight: 0,
            line_start: None,
            line_end: 0,
            too_deep: false,
            before_too_deep: false,
            previous: None,
            previous_is_prefix: false,
            previous_end: 0,
            scanned: 0,
            line: 0,
            found: LeftOut::default(),
        }
    }

    fn run(mut self) -> LeftOut {
        for (kind, bytes) in tokens(self.text) {
            match kind {
                TokenKind::Newline => self.end_line(),
                TokenKind::Comment | TokenKind::NonLogicalNewline | TokenKind::Indent | TokenKind::Dedent => {}
                _ => {
                    if let Some(width) = self.indentation_before(bytes.start) {
                        // In an unclosed bracket the lexer sees no end of line, but the parser recovers at a keyword
                        // that cannot stand in an expression.
                        if starts_statement(kind) {
                            self.end_line();
                        }
                        self.indent(width);
                    }
                    self.line_start.get_or_insert(bytes.start);
                    self.line_end = bytes.end;
                    self.weigh(kind);
                    self.previous = Some(kind);
                    self.previous_end = bytes.end;
                }
            }
        }
        self.end_line();
        self.found
    }

    /// The width of the white space before a token, if it is the first on its line.
    fn indentation_before(&mut self, start: usize) -> Option<usize> {
        let skipped = self.text.get(self.scanned..start)?;
        if let Some(end) = skipped.rfind(['\n', '\r']) {
            self.line = self.scanned + end + 1;
        }
        self.scanned = start;
        if self.previous_end > self.line {
            return None;
        }
        let lead = self.text.get(self.line..start)?;
        Some(lead.bytes().map(|byte| if byte == b'\t' { 8 } else { 1 }).sum())
    }

    fn indent(&mut self, width: usize) {
        while self.indentations.last().is_some_and(|last| *last >= width) {
            self.indentations.pop();
        }
        if width > 0 {
            self.indentations.push(width);
        }
    }

    fn weigh(&mut self, kind: TokenKind) {
        if self.frames.is_empty() {
            self.open(None);
        }
        let is_prefix = self.is_prefix(kind);
        match kind {
            TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::FStringStart
            | TokenKind::TStringStart => {
                self.add(CHAIN);
                self.open(Some(kind));
            }
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => self.close(kind),
            TokenKind::FStringEnd | TokenKind::TStringEnd => self.close_string(),
            TokenKind::Comma | TokenKind::Equal => self.separate(),
            TokenKind::Semi if self.frames.len() == 1 => self.separate(),
            TokenKind::Colon => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.lambdas = frame.lambdas.saturating_sub(1);
                }
            }
            TokenKind::Lambda => {
                self.add(BRACKET);
                if let Some(frame) = self.frames.last_mut() {
                    frame.lambdas += 1;
                }
            }
            TokenKind::If | TokenKind::ColonEqual => self.add(BRACKET),
            _ if is_prefix && self.previous_is_prefix => self.add(BRACKET),
            _ if is_prefix => {}
            TokenKind::DoubleStar => self.add(BRACKET),
            TokenKind::Dot | TokenKind::For => self.add(CHAIN),
            TokenKind::Percent => self.add(CHAIN),
            _ if kind.is_arithmetic() || kind.is_bitwise_or_shift() => self.add(CHAIN),
            _ => {}
        }
        self.previous_is_prefix = is_prefix;
        let blocks = u32::try_from(self.indentations.len()).unwrap_or(u32::MAX);
        self.too_deep |= self.weight.saturating_add(blocks.saturating_mul(BLOCK)) > LIMIT;
    }

    /// Whether the token is an operator before its only operand, as in `- -x` and `not not x`.
    fn is_prefix(&self, kind: TokenKind) -> bool {
        let after_operand = self.previous.is_some_and(|previous| {
            matches!(
                previous,
                TokenKind::Name
                    | TokenKind::Int
                    | TokenKind::Float
                    | TokenKind::Complex
                    | TokenKind::String
                    | TokenKind::FStringEnd
                    | TokenKind::TStringEnd
                    | TokenKind::Rpar
                    | TokenKind::Rsqb
                    | TokenKind::Rbrace
                    | TokenKind::None
                    | TokenKind::True
                    | TokenKind::False
                    | TokenKind::Ellipsis
            )
        });
        match kind {
            TokenKind::Not | TokenKind::Tilde | TokenKind::Await | TokenKind::Yield | TokenKind::Async => true,
            TokenKind::Plus | TokenKind::Minus | TokenKind::Star | TokenKind::DoubleStar => !after_operand,
            _ => false,
        }
    }

    fn add(&mut self, weight: u32) {
        if let Some(frame) = self.frames.last_mut() {
            frame.weight += weight;
            self.weight += weight;
        }
    }

    fn open(&mut self, opener: Option<TokenKind>) {
        let weight = if opener.is_some() { BRACKET } else { 0 };
        self.weight += weight;
        self.frames.push(Frame { opener, weight, lambdas: 0 });
    }

    fn pop(&mut self) {
        if self.frames.len() > 1
            && let Some(frame) = self.frames.pop()
        {
            self.weight -= frame.weight;
        }
    }

    /// A closing bracket that closes nothing is ignored: that leaves the weight too high rather than too low.
    fn close(&mut self, closer: TokenKind) {
        let opener = match closer {
            TokenKind::Rpar => TokenKind::Lpar,
            TokenKind::Rsqb => TokenKind::Lsqb,
            _ => TokenKind::Lbrace,
        };
        if self.frames.last().is_some_and(|frame| frame.opener == Some(opener)) {
            self.pop();
        }
    }

    fn close_string(&mut self) {
        let start = self
            .frames
            .iter()
            .rposition(|frame| matches!(frame.opener, Some(TokenKind::FStringStart | TokenKind::TStringStart)));
        while start.is_some_and(|start| self.frames.len() > start) {
            let before = self.frames.len();
            self.pop();
            if self.frames.len() == before {
                break;
            }
        }
    }

    /// Elements of a list stand beside each other, so a chain ends at a comma.
    fn separate(&mut self) {
        let is_bracket = self.frames.len() > 1;
        if let Some(frame) = self.frames.last_mut().filter(|frame| frame.lambdas == 0) {
            let rest = if is_bracket { BRACKET } else { 0 };
            self.weight -= frame.weight - rest;
            frame.weight = rest;
        }
    }

    fn end_line(&mut self) {
        if let Some(start) = self.line_start.take() {
            if self.too_deep {
                self.found.parts.push(Part { bytes: start..self.line_end, continues: self.before_too_deep });
            }
            self.before_too_deep = self.too_deep;
        }
        self.too_deep = false;
        self.frames.clear();
        self.weight = 0;
        self.previous = None;
        self.previous_is_prefix = false;
    }
}

/// Whether a keyword at the start of a line starts a statement even where a bracket was left open.
fn starts_statement(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Assert
            | TokenKind::Break
            | TokenKind::Class
            | TokenKind::Continue
            | TokenKind::Def
            | TokenKind::Del
            | TokenKind::Except
            | TokenKind::Finally
            | TokenKind::Global
            | TokenKind::Import
            | TokenKind::Nonlocal
            | TokenKind::Pass
            | TokenKind::Raise
            | TokenKind::Return
            | TokenKind::Try
            | TokenKind::While
            | TokenKind::With
    )
}
