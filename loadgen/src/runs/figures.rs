//! What was measured beside what the design asks for.

use crate::LoadError;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    /// What was measured, if it could be.
    is: Option<f64>,
    unit: &'static str,
    /// What was wanted, in words; empty if nothing is.
    wanted: String,
    /// `None` if nothing was wanted, or nothing measured.
    met: Option<bool>,
    /// Why nothing was measured, or what else to know.
    note: String,
}

impl Figure {
    /// A figure that nothing is wanted of.
    pub(crate) fn plain(name: &str, is: f64) -> Self {
        Self {
            name: name.to_owned(),
            is: Some(is),
            unit: "",
            wanted: String::new(),
            met: None,
            note: String::new(),
        }
    }

    /// One that has a bound above.
    pub(crate) fn at_most(name: &str, is: f64, most: f64, unit: &'static str) -> Self {
        Self { unit, wanted: format!("<= {most}{unit}"), met: Some(is <= most), ..Self::plain(name, is) }
    }

    /// One that has a bound below.
    pub(crate) fn at_least(name: &str, is: f64, least: f64, unit: &'static str) -> Self {
        Self { unit, wanted: format!(">= {least}{unit}"), met: Some(is >= least), ..Self::plain(name, is) }
    }

    /// One that could not be measured.
    pub(crate) fn missing(name: &str, why: &str) -> Self {
        Self { is: None, note: why.to_owned(), ..Self::plain(name, 0.0) }
    }

    /// The same, with something else to know.
    pub(crate) fn noting(self, note: String) -> Self {
        Self { note, ..self }
    }
}

/// All of a bench.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| figure | measured | wanted | met | note |\n| --- | --- | --- | --- | --- |")?;
        for figure in &self.0 {
            let is = match figure.is {
                Some(is) if is.abs() >= 100.0 || is.fract() == 0.0 => format!("{is:.0}{}", figure.unit),
                Some(is) => format!("{is:.2}{}", figure.unit),
                None => "–".to_owned(),
            };
            let met = figure.met.map_or("", |met| if met { "yes" } else { "**no**" });
            writeln!(out, "| {} | {is} | {} | {met} | {} |", figure.name, figure.wanted, figure.note)?;
        }
        Ok(())
    }
}

impl Figures {
    /// Writes `figures.md` and `figures.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), LoadError> {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join("figures.md"), self.to_string()))
            .and_then(|()| std::fs::write(folder.join("figures.json"), json + "\n"))
            .map_err(|source| LoadError::File { path: folder.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_is_met() {
        let figures = Figures(vec![
            Figure::at_least("goodput", 0.87, 0.9, "x"),
            Figure::at_most("refusals", 640.4, 1000.0, "us"),
            Figure::missing("storm", "too quick"),
        ]);
        let text = figures.to_string();
        for line in [
            "| goodput | 0.87x | >= 0.9x | **no** |  |",
            "| refusals | 640us | <= 1000us | yes |  |",
            "| storm | – |  |  | too quick |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
