//! The promises of a plan, checked the same way whatever it was read from.

use std::collections::{HashMap, HashSet};

use crate::csv::Origins;
use crate::errors::{ImportErrorKind as Kind, ImportErrors};
use crate::limits::{Limits, MAX_COORDINATE, MAX_TEXT_BYTES};
use crate::plan::{Plan, Row, Seat, SeatPlace, Section};

/// How the source calls a place of the plan. The plan must still stand in the order of the source.
#[derive(Clone, Copy)]
pub(crate) enum Places<'a> {
    /// JSON paths into a stored plan.
    Native,
    /// JSON paths into pretix's format.
    Pretix,
    /// Line numbers of a CSV file.
    Csv(&'a Origins),
}

/// What of a seat, row or section is meant.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Whole,
    Name,
    Guid,
    Position,
    Category,
    Aisle,
}

impl Places<'_> {
    fn words(self) -> (&'static str, [&'static str; 5]) {
        match self {
            Self::Pretix => ("zones", ["name", "row_number", "seat_number", "seat_guid", ".position"]),
            _ => ("sections", ["name", "label", "number", "guid", ""]),
        }
    }

    pub(crate) fn sections(self) -> String {
        if let Self::Csv(_) = self { String::new() } else { self.words().0.to_owned() }
    }

    pub(crate) fn category(self, index: usize, field: Field) -> String {
        match (self, field) {
            (Self::Csv(_), _) => "the column `category`".to_owned(),
            (_, Field::Name) => format!("categories[{index}].name"),
            _ => format!("categories[{index}]"),
        }
    }

    pub(crate) fn section(self, section: usize, field: Field) -> String {
        if let Self::Csv(lines) = self {
            return lines.line(SeatPlace { section: section as u32, row: 0, seat: 0 });
        }
        let (list, [name, ..]) = self.words();
        match field {
            Field::Name => format!("{list}[{section}].{name}"),
            Field::Position => format!("{list}[{section}].position"),
            _ => format!("{list}[{section}].rows"),
        }
    }

    pub(crate) fn row(self, section: usize, row: usize, field: Field) -> String {
        if let Self::Csv(lines) = self {
            return lines.line(SeatPlace { section: section as u32, row: row as u32, seat: 0 });
        }
        let (list, [_, label, ..]) = self.words();
        match field {
            Field::Name => format!("{list}[{section}].rows[{row}].{label}"),
            _ => format!("{list}[{section}].rows[{row}].seats"),
        }
    }

    pub(crate) fn seat(self, at: SeatPlace, field: Field) -> String {
        if let Self::Csv(lines) = self {
            return lines.line(at);
        }
        let (list, [_, _, number, guid, position]) = self.words();
        let SeatPlace { section, row, seat } = at;
        let seat = format!("{list}[{section}].rows[{row}].seats[{seat}]");
        match field {
            Field::Whole => seat,
            Field::Name => format!("{seat}.{number}"),
            Field::Guid => format!("{seat}.{guid}"),
            Field::Position => format!("{seat}{position}"),
            Field::Category => format!("{seat}.category"),
            Field::Aisle => format!("{seat}.aisle_after"),
        }
    }
}

/// What the reader already complained about: checking it again would report one fault twice.
#[derive(Default)]
pub(crate) struct Faulty {
    pub(crate) name: bool,
    pub(crate) categories: bool,
    pub(crate) sections: HashSet<usize>,
    pub(crate) rows: HashSet<(usize, usize)>,
    pub(crate) seats: HashSet<SeatPlace>,
}

/// Checks one plan.
pub(crate) struct Checker<'a> {
    places: Places<'a>,
    pub(crate) limits: Limits,
    pub(crate) faulty: Faulty,
    /// Every seat must bring its own guid.
    pub(crate) guid_required: bool,
    /// Sections without rows are left to the caller.
    pub(crate) skip_empty_sections: bool,
    /// Unknown categories have been reported by name.
    pub(crate) categories_resolved: bool,
    /// Seats have positions (a CSV without x and y gets them later).
    pub(crate) positioned: bool,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(places: Places<'a>) -> Self {
        Self {
            places,
            limits: Limits::default(),
            faulty: Faulty::default(),
            guid_required: false,
            skip_empty_sections: false,
            categories_resolved: false,
            positioned: true,
        }
    }

    /// Adds everything wrong with the plan to `errors`.
    pub(crate) fn run(&self, plan: &Plan, errors: &mut ImportErrors) {
        self.whole(plan, errors);
        self.categories(plan, errors);
        self.guids(plan, errors);
        let mut names = HashMap::new();
        for (index, section) in plan.sections.iter().enumerate() {
            if !self.faulty.sections.contains(&index) {
                self.section(&mut names, index, section, errors);
            }
            self.rows(index, section, plan.categories.len(), errors);
        }
    }

    fn whole(&self, plan: &Plan, errors: &mut ImportErrors) {
        if !self.faulty.name {
            text(&plan.name, || "name".to_owned(), errors);
        }
        if plan.sections.len() > self.limits.sections {
            errors.push(|| (self.places.sections(), Kind::TooManySections));
        }
        let seats = plan.seat_count();
        if seats > self.limits.seats {
            errors.push(|| (self.places.sections(), Kind::TooManySeats));
        }
        if seats == 0 && errors.errors.is_empty() {
            errors.push(|| (self.places.sections(), Kind::EmptyPlan));
        }
    }

    fn categories(&self, plan: &Plan, errors: &mut ImportErrors) {
        if plan.categories.len() > self.limits.categories {
            errors.push(|| ("categories".to_owned(), Kind::TooManyCategories));
        }
        if self.faulty.categories {
            return;
        }
        let mut names = HashMap::new();
        for (index, category) in plan.categories.iter().enumerate() {
            text(&category.name, || self.places.category(index, Field::Name), errors);
            if let Some(color) = category.color.as_ref().filter(|color| color.len() > MAX_TEXT_BYTES) {
                errors.push(|| {
                    (format!("categories[{index}].color"), Kind::TextTooLong { bytes: color.len() })
                });
            }
            if let Some(first) = names.insert(category.name.as_str(), index) {
                let name = || category.name.clone();
                let first = || self.places.category(first, Field::Name);
                errors.push(|| {
                    let kind = Kind::DuplicateCategory { name: name(), first: first() };
                    (self.places.category(index, Field::Name), kind)
                });
            }
        }
    }

    fn guids(&self, plan: &Plan, errors: &mut ImportErrors) {
        let some_made = plan.seats().any(|(_, seat)| seat.guid.is_none());
        let mut seen: HashMap<&str, SeatPlace> = HashMap::new();
        for (at, seat) in plan.seats() {
            if self.faulty.seats.contains(&at) {
                continue;
            }
            let place = || self.places.seat(at, Field::Guid);
            let Some(guid) = seat.guid.as_deref() else {
                if self.guid_required {
                    errors.push(|| (place(), Kind::Missing));
                }
                continue;
            };
            text(guid, place, errors);
            if some_made && SeatPlace::from_guid(guid).is_some() {
                errors.push(|| (place(), Kind::ReservedGuid { guid: guid.to_owned() }));
            }
            if let Some(first) = seen.insert(guid, at) {
                errors.push(|| {
                    let first = self.places.seat(first, Field::Whole);
                    (place(), Kind::DuplicateGuid { guid: guid.to_owned(), first })
                });
            }
        }
    }

    fn section<'p>(
        &self,
        names: &mut HashMap<&'p str, usize>,
        index: usize,
        section: &'p Section,
        errors: &mut ImportErrors,
    ) {
        let place = |field| self.places.section(index, field);
        text(&section.name, || place(Field::Name), errors);
        if let Some(first) = names.insert(&section.name, index) {
            errors.push(|| {
                let first = self.places.section(first, Field::Name);
                (place(Field::Name), Kind::DuplicateSection { name: section.name.clone(), first })
            });
        }
        if let Some(value) = [section.position.x, section.position.y].into_iter().find(|&v| !in_bounds(v)) {
            errors.push(|| (place(Field::Position), Kind::Position { value: value.into() }));
        }
        if section.rows.len() > self.limits.rows_per_section {
            errors.push(|| (place(Field::Whole), Kind::TooManyRows));
        }
        if section.rows.is_empty() && !self.skip_empty_sections {
            errors.push(|| (place(Field::Whole), Kind::EmptySection));
        }
    }

    fn rows(&self, section: usize, block: &Section, categories: usize, errors: &mut ImportErrors) {
        let mut labels = HashMap::new();
        let mut spots = HashMap::new();
        for (index, row) in block.rows.iter().enumerate() {
            if !self.faulty.rows.contains(&(section, index)) {
                let place = |field| self.places.row(section, index, field);
                text(&row.label, || place(Field::Name), errors);
                if let Some(first) = labels.insert(&*row.label, index) {
                    errors.push(|| {
                        let first = self.places.row(section, first, Field::Name);
                        (place(Field::Name), Kind::DuplicateRow { label: row.label.to_string(), first })
                    });
                }
                if row.seats.is_empty() {
                    errors.push(|| (place(Field::Whole), Kind::EmptyRow));
                }
                if row.seats.len() > self.limits.seats_per_row {
                    errors.push(|| (place(Field::Whole), Kind::TooManySeatsInRow));
                }
            }
            self.seats((section, index), row, categories, &mut spots, errors);
        }
    }

    fn seats(
        &self,
        (section, row): (usize, usize),
        line: &Row,
        categories: usize,
        spots: &mut HashMap<(u32, u32), SeatPlace>,
        errors: &mut ImportErrors,
    ) {
        let mut numbers = HashMap::with_capacity(line.seats.len());
        for (index, seat) in line.seats.iter().enumerate() {
            let at = SeatPlace { section: section as u32, row: row as u32, seat: index as u32 };
            if self.faulty.seats.contains(&at) {
                continue;
            }
            text(&seat.number, || self.places.seat(at, Field::Name), errors);
            if let Some(first) = numbers.insert(&*seat.number, at).filter(|_| !seat.number.is_empty()) {
                errors.push(|| {
                    let first = self.places.seat(first, Field::Whole);
                    let kind = Kind::DuplicateNumber { number: seat.number.to_string(), first };
                    (self.places.seat(at, Field::Name), kind)
                });
            }
            if usize::from(seat.category) >= categories && !self.categories_resolved {
                let name = || format!("number {}", seat.category);
                errors
                    .push(|| (self.places.seat(at, Field::Category), Kind::UnknownCategory { name: name() }));
            }
            if seat.aisle_after && index + 1 == line.seats.len() {
                errors.push(|| (self.places.seat(at, Field::Aisle), Kind::AisleAfterLast));
            }
            if self.positioned {
                self.spot(at, seat, spots, errors);
            }
        }
    }

    fn spot(
        &self,
        at: SeatPlace,
        seat: &Seat,
        spots: &mut HashMap<(u32, u32), SeatPlace>,
        errors: &mut ImportErrors,
    ) {
        let place = || self.places.seat(at, Field::Position);
        if let Some(value) = [seat.x, seat.y].into_iter().find(|&v| !in_bounds(v)) {
            errors.push(|| (place(), Kind::Position { value: value.into() }));
        } else if let Some(first) = spots.insert(spot_key(seat), at) {
            errors.push(|| {
                let first = self.places.seat(first, Field::Whole);
                (place(), Kind::SameSpot { x: seat.x, y: seat.y, first })
            });
        }
    }
}

/// The seat's spot as a key; adding zero makes one of the two zeros.
pub(crate) fn spot_key(seat: &Seat) -> (u32, u32) {
    ((seat.x + 0.0).to_bits(), (seat.y + 0.0).to_bits())
}

/// Whether a coordinate is finite and within [`MAX_COORDINATE`].
pub(crate) fn in_bounds(value: f32) -> bool {
    value.abs() <= MAX_COORDINATE
}

fn text(value: &str, place: impl FnOnce() -> String, errors: &mut ImportErrors) {
    if value.trim().is_empty() {
        errors.push(|| (place(), Kind::Missing));
    } else if value.len() > MAX_TEXT_BYTES {
        errors.push(|| (place(), Kind::TextTooLong { bytes: value.len() }));
    }
}
