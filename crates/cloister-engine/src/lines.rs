//! Which lines a finding is shown at.

use cloister_source::{Range, SourceText};

/// The most lines that a finding names.
const MOST: usize = 3;

/// A line is named where its probability is at least this part of the likeliest line's.
const PART_OF_LARGEST: f32 = 0.5;

/// The numbers of the lines that the pointer means, in order, of a window's lines. Empty where there are no
/// probabilities.
pub(crate) fn pointed_lines(lines: &[u32], probabilities: &[f32]) -> Vec<u32> {
    let mut ranked: Vec<(u32, f32)> = lines.iter().copied().zip(probabilities.iter().copied()).collect();
    // Stable, so that equal lines keep their order.
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let least = ranked.first().map_or(0.0, |(_, largest)| largest * PART_OF_LARGEST);
    let mut numbers: Vec<u32> =
        ranked.into_iter().take_while(|(_, p)| *p >= least).take(MOST).map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The first block of lines that follow each other, from its first visible character to the end of its last line.
pub(crate) fn first_block(source: &SourceText<'_>, lines: &[u32]) -> Option<Range> {
    let first = *lines.first()?;
    let last = lines.iter().copied().zip(first..).take_while(|(line, next)| line == next).last()?.0;
    Some(Range { start: source.code_range(first)?.start, end: source.code_range(last)?.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_near_the_likeliest_are_named_in_order() {
        let lines = [10, 20, 30, 40];
        assert_eq!(pointed_lines(&lines, &[0.3, 0.1, 0.5, 0.1]), [10, 30]);
        assert_eq!(pointed_lines(&lines, &[0.25, 0.25, 0.25, 0.25]), [10, 20, 30]);
        assert!(pointed_lines(&lines, &[]).is_empty());
        assert!(pointed_lines(&[], &[]).is_empty());
    }

    #[test]
    fn the_range_spans_the_first_block() {
        let source = SourceText::new("a\n    b  \n\tcd \ne\n");
        let range = first_block(&source, &[2, 3, 5]).unwrap();
        assert_eq!((range.start.line, range.start.column), (2, 5));
        assert_eq!((range.end.line, range.end.column), (3, 4));
        assert_eq!(first_block(&source, &[]), None);
    }
}
