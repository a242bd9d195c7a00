//! The names that a piece of code refers to.

use std::collections::HashSet;
use std::ops;

use ruff_python_ast::token::TokenKind;

use crate::lines::Edit;
use crate::outline::{Outline, Token};

/// The names in a piece of code.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    /// Names by themselves.
    pub(crate) plain: HashSet<&'a str>,
    /// Names after a dot, each with the name before the dot.
    pub(crate) attributes: HashSet<(&'a str, &'a str)>,
}

impl<'a> Names<'a> {
    /// Reads them from the tokens that start in `bytes` and that no edit hides.
    pub(crate) fn read(text: &'a str, outline: &Outline, edits: &[Edit], bytes: &ops::Range<usize>) -> Self {
        let mut names = Self::default();
        let mut before: [Option<&Token>; 2] = [None, None];
        let mut edit = edits.partition_point(|edit| edit.bytes.end <= bytes.start);
        for token in outline.tokens_in(bytes) {
            while edits.get(edit).is_some_and(|edit| edit.bytes.end <= token.bytes.start) {
                edit += 1;
            }
            if edits.get(edit).is_some_and(|edit| edit.bytes.start <= token.bytes.start) {
                continue;
            }
            // Soft keywords are names nearly always.
            if matches!(token.kind, TokenKind::Name | TokenKind::Match | TokenKind::Case | TokenKind::Type)
                && let Some(name) = text.get(token.bytes.clone())
            {
                match before {
                    [Some(owner), Some(dot)] if dot.kind == TokenKind::Dot => {
                        if let Some(owner) = text.get(owner.bytes.clone()).filter(|_| owner.kind == TokenKind::Name) {
                            names.attributes.insert((owner, name));
                        }
                    }
                    [_, Some(dot)] if dot.kind == TokenKind::Dot => {}
                    _ => {
                        names.plain.insert(name);
                    }
                }
            }
            before = [before[1], Some(token)];
        }
        names
    }
}
