//! Prints the units of a Python file as the model reads them: `cargo run -p cloister-source --example units -- FILE`.

use std::io::Read;

use cloister_source::{Limits, WindowOptions, analyse_source, windows};

fn main() -> std::io::Result<()> {
    let mut text = String::new();
    match std::env::args().nth(1) {
        Some(path) if path != "-" => text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned(),
        _ => {
            std::io::stdin().read_to_string(&mut text)?;
        }
    }
    let parsed = analyse_source(&text, &Limits::default());
    for notice in &parsed.notices {
        println!("notice {:?}: {}", notice.kind, notice.message);
    }
    for unit in &parsed.units {
        println!("== {} ({:?}), lines {} to {}", unit.name, unit.kind, unit.range.start.line, unit.range.end.line);
        for window in windows(unit, &|text| text.split_whitespace().count(), &WindowOptions::new(1_000)).windows {
            let rendered = window.render();
            for (line, place) in rendered.text.lines().zip(&rendered.lines) {
                println!("{:>5}{} {line}", place.number, if place.is_context { '+' } else { ' ' });
            }
        }
    }
    Ok(())
}
