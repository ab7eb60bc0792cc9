//! A section as text: a character per seat, a gap per aisle.

use crate::places::Labels;
use frontrow_client::http::RowMap;
use std::fmt::Write;

/// What the characters mean.
pub(crate) const LEGEND: &str =
    "  . free   a free, for wheelchair users   o held   # booked   x blocked   (a gap is an aisle)";

/// A row's seats by the letters of the protocol: `f`ree, `h`eld, `b`ooked or blocked (`x`).
pub(crate) fn row_text(row: &RowMap, letters: &str) -> String {
    let mut text = String::with_capacity(letters.len() + row.aisles_after.len());
    for (place, letter) in letters.chars().enumerate() {
        text.push(match letter {
            'f' if row.accessible.contains(&place) => 'a',
            'f' => '.',
            'h' => 'o',
            'b' => '#',
            'x' => 'x',
            _ => '?',
        });
        if row.aisles_after.contains(&place) {
            text.push(' ');
        }
    }
    text
}

/// The section row by row: label, first seat's number, seats, last seat's number. `letters` gives a row's
/// letters by its number.
pub(crate) fn section_text<'l>(labels: &Labels, letters: impl Fn(u16) -> Option<&'l str>) -> String {
    let rows = labels.rows();
    let width =
        |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let label = width(&mut rows.iter().map(|row| &*row.label)).max(3);
    let first = width(&mut rows.iter().filter_map(|row| row.numbers.first().map(|it| &**it)));
    let (mut text, mut free, mut all) = (String::new(), 0, 0);
    let _ = writeln!(text, "{}", labels.section());
    for row in rows {
        let Some(letters) = letters(row.row) else { continue };
        free += letters.bytes().filter(|&it| it == b'f').count();
        all += letters.len();
        let from = row.numbers.first().map_or("", |it| it);
        let to = row.numbers.last().map_or("", |it| it);
        let _ = writeln!(text, "  row {:<label$}  {from:>first$} {} {to}", row.label, row_text(row, letters));
    }
    let _ = write!(text, "{LEGEND}\n  {free} of {all} seats are free.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::sample;

    #[test]
    fn a_section_is_drawn_with_labels_aisles_and_a_legend() {
        let labels = Labels::new(sample());
        let text = section_text(&labels, |row| Some(["ffhb", "xff"][usize::from(row)]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            ["Block B", "  row A    1 a. o# 7", "  row 2    1 x.. 2-b", LEGEND, "  4 of 7 seats are free."]
        );
    }

    #[test]
    fn rows_that_are_not_known_yet_are_left_out_and_strange_letters_show() {
        let labels = Labels::new(sample());
        let text = section_text(&labels, |row| (row == 1).then_some("f?b"));
        assert!(!text.contains("row A") && text.contains("1 a?# 2-b"), "{text}");
    }
}
