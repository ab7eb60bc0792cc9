//! Sections, rows and seats by what people call them.

use frontrow_client::Seats;
use frontrow_client::http::{RowMap, SectionMap, SectionSum};

/// A section's labels.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    name: String,
    rows: Vec<RowMap>,
}

impl Labels {
    pub(crate) fn new(map: SectionMap) -> Self {
        Self { name: map.name, rows: map.rows }
    }

    /// No map could be had: indexes must do.
    pub(crate) fn unknown(section: u16) -> Self {
        Self { name: format!("section {section}"), rows: Vec::new() }
    }

    pub(crate) fn section(&self) -> &str {
        &self.name
    }

    pub(crate) fn rows(&self) -> &[RowMap] {
        &self.rows
    }

    pub(crate) fn row(&self, row: u16) -> String {
        let found = self.rows.iter().find(|it| it.row == row);
        found.map_or_else(|| format!("{row} (index)"), |it| it.label.clone())
    }

    pub(crate) fn seat(&self, row: u16, place: usize) -> String {
        let row = self.rows.iter().find(|it| it.row == row);
        let number = row.and_then(|it| it.numbers.get(place));
        number.map_or_else(|| format!("{place} (index)"), Clone::clone)
    }

    pub(crate) fn seats(&self, row: u16, seats: Seats) -> Vec<String> {
        seats.places().map(|place| self.seat(row, place.into())).collect()
    }
}

/// Labels differ in case and spaces only for machines.
fn same(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

/// Without a leading `row`, as people would say it.
fn bare<'t>(word: &str, text: &'t str) -> &'t str {
    let rest = text.trim();
    match rest.get(..word.len()) {
        Some(start) if same(start, word) && rest[word.len()..].starts_with(' ') => rest[word.len()..].trim(),
        _ => rest,
    }
}

fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    const SHOWN: usize = 12;
    let texts: Vec<&str> = texts.collect();
    let more = texts.len().saturating_sub(SHOWN);
    let shown = texts[..texts.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The index of the section that somebody means: by its whole name, or a word of it that no other has.
pub(crate) fn section(sections: &[SectionSum], wanted: &str, index: bool) -> Result<u16, String> {
    if index {
        let found = wanted.parse().ok().filter(|&it| usize::from(it) < sections.len());
        return found.ok_or_else(|| {
            format!(
                "there is no section with index {wanted}; they go from 0 to {}",
                sections.len().saturating_sub(1)
            )
        });
    }
    let whole: Vec<usize> = (0..sections.len()).filter(|&it| same(&sections[it].name, wanted)).collect();
    let found = if whole.is_empty() {
        let has_word = |name: &str| name.split_whitespace().any(|word| same(word, wanted));
        (0..sections.len()).filter(|&it| has_word(&sections[it].name)).collect()
    } else {
        whole
    };
    match found[..] {
        [one] => Ok(one as u16),
        [] => Err(format!(
            "there is no section `{wanted}`; there are {} (or give an index with --place)",
            list(sections.iter().map(|it| &*it.name))
        )),
        _ => Err(format!(
            "`{wanted}` may be {}; write the whole name",
            list(found.iter().map(|&it| &*sections[it].name))
        )),
    }
}

/// The row that somebody means.
pub(crate) fn row<'m>(labels: &'m Labels, wanted: &str, index: bool) -> Result<&'m RowMap, String> {
    let meant = bare("row", wanted);
    let found = labels.rows.iter().find(|it| {
        if index { meant.parse() == Ok(it.row) } else { same(&it.label, meant) || same(&it.label, wanted) }
    });
    found.ok_or_else(|| {
        if index {
            let last = labels.rows.len().saturating_sub(1);
            return format!("there is no row with index {wanted}; they go from 0 to {last}");
        }
        let rows = list(labels.rows.iter().map(|it| &*it.label));
        format!("{} has no row `{wanted}`; there are {rows} (or give an index with --place)", labels.name)
    })
}

/// The places of the seats that somebody means: `4,5`, `4-6` (all that stand between the two in the row),
/// or both mixed.
pub(crate) fn seats(row: &RowMap, wanted: &str, index: bool) -> Result<Vec<u8>, String> {
    let mut places = Vec::new();
    for part in wanted.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        // A label may have a hyphen of its own.
        let range = part.split_once('-').filter(|_| seat(row, part, index).is_none());
        let (from, to) = range.unwrap_or((part, part));
        let find =
            |label: &str| seat(row, label.trim(), index).ok_or_else(|| no_seat(row, label.trim(), index));
        let (from, to) = (find(from)?, find(to)?);
        places.extend(from.min(to)..=from.max(to));
    }
    if places.is_empty() {
        return Err("no seat is named; write --seats 4,5 or --seats 4-6".into());
    }
    Ok(places)
}

fn seat(row: &RowMap, label: &str, index: bool) -> Option<u8> {
    let found = if index {
        label.parse().ok().filter(|&place| place < row.numbers.len())
    } else {
        row.numbers.iter().position(|number| same(number, label))
    };
    found.and_then(|place| u8::try_from(place).ok())
}

fn no_seat(row: &RowMap, label: &str, index: bool) -> String {
    let label = if label.is_empty() { "(nothing)" } else { label };
    if index {
        let last = row.numbers.len().saturating_sub(1);
        return format!("row {} has no seat with index {label}; they go from 0 to {last}", row.label);
    }
    let numbers = list(row.numbers.iter().map(String::as_str));
    format!("row {} has no seat `{label}`; there are {numbers}", row.label)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use frontrow_client::http::Categories;

    fn row_map(row: u16, label: &str, numbers: &[&str], aisles_after: &[usize]) -> RowMap {
        RowMap {
            row,
            label: label.into(),
            numbers: numbers.iter().map(|&it| it.into()).collect(),
            x: Vec::new(),
            y: Vec::new(),
            category: Categories::All(0),
            aisles_after: aisles_after.to_vec(),
            accessible: vec![0],
        }
    }

    /// Row A has odd numbers with an aisle, row 2 even ones, and a seat with a hyphen.
    pub(crate) fn sample() -> SectionMap {
        let rows =
            vec![row_map(0, "A", &["1", "3", "5", "7"], &[1]), row_map(1, "2", &["1", "2", "2-b"], &[])];
        SectionMap { section: 0, name: "Block B".into(), rows }
    }

    fn sums(names: &[&str]) -> Vec<SectionSum> {
        names.iter().map(|&name| SectionSum { name: name.into(), rows: 1, seats: 1 }).collect()
    }

    #[test]
    fn sections_are_meant_by_name_word_or_index() {
        let all = sums(&["Block A", "Block B", "Block B upper", "C"]);
        for (wanted, index, found) in [
            ("Block B", false, Ok(1)),
            (" block b ", false, Ok(1)),
            ("c", false, Ok(3)),
            ("A", false, Ok(0)),
            ("upper", false, Ok(2)),
            ("3", true, Ok(3)),
            ("B", false, Err("`B` may be Block B, Block B upper; write the whole name")),
            ("D", false, Err("there is no section `D`; there are Block A, Block B, Block B upper, C")),
            ("4", true, Err("they go from 0 to 3")),
            ("A", true, Err("there is no section with index A")),
        ] {
            match (section(&all, wanted, index), found) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{wanted}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{wanted}: {got}"),
                (got, _) => panic!("{wanted}: {got:?}"),
            }
        }
    }

    #[test]
    fn rows_are_meant_by_label_or_index() {
        let labels = Labels::new(sample());
        for (wanted, index, found) in [
            ("a", false, Some(0)),
            ("Row 2", false, Some(1)),
            ("1", true, Some(1)),
            ("1", false, None),
            ("2", true, None),
        ] {
            assert_eq!(row(&labels, wanted, index).ok().map(|it| it.row), found, "{wanted}");
        }
        let error = row(&labels, "X", false).unwrap_err();
        assert_eq!(error, "Block B has no row `X`; there are A, 2 (or give an index with --place)");
    }

    #[test]
    fn seats_are_meant_by_number_range_or_index() {
        let map = sample();
        for (nth, wanted, index, found) in [
            (0, "3,5", false, Ok(vec![1, 2])),
            (0, "3-7", false, Ok(vec![1, 2, 3])),
            (0, "7 - 3", false, Ok(vec![1, 2, 3])),
            (0, "0-1,3", true, Ok(vec![0, 1, 3])),
            (1, "2-b, 1", false, Ok(vec![2, 0])),
            (0, "2", false, Err("row A has no seat `2`; there are 1, 3, 5, 7")),
            (0, "9", true, Err("they go from 0 to 3")),
            (0, "3-", false, Err("no seat `(nothing)`")),
            (0, ",", false, Err("no seat is named")),
        ] {
            match (seats(&map.rows[nth], wanted, index), found) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{wanted}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{wanted}: {got}"),
                (got, _) => panic!("{wanted}: {got:?}"),
            }
        }
    }
}
