//! A table as text and as Markdown. The first column is flush left, the others flush right.

/// A table.
pub(crate) struct Table {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// In columns of equal width, two spaces apart.
    pub fn text(&self) -> String {
        let lines: Vec<Vec<&str>> = std::iter::once(self.header.clone())
            .chain(self.rows.iter().map(|row| row.iter().map(String::as_str).collect()))
            .collect();
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.header.len()).filter_map(width).collect();
        let mut out = String::new();
        for line in &lines {
            let mut text = String::new();
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                match at {
                    0 => text.push_str(&format!("{cell:<width$}")),
                    _ => text.push_str(&format!("  {cell:>width$}")),
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }

    /// In Markdown.
    pub fn markdown(&self) -> String {
        let rule = |at: usize| if at == 0 { "---" } else { "---:" };
        let mut out = format!("| {} |\n|", self.header.join(" | "));
        for at in 0..self.header.len() {
            out.push_str(&format!(" {} |", rule(at)));
        }
        out.push('\n');
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let table = Table { header: vec!["metric", "value"], rows: vec![vec!["R−FPR".into(), "–".into()]] };
        assert_eq!(table.text(), "metric  value\nR−FPR       –\n");
        assert_eq!(table.markdown(), "| metric | value |\n| --- | ---: |\n| R−FPR | – |\n");
    }
}
