//! One pass over the document: fills a plan in the order of the file and notes every fault.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::level::Level;
use super::tolerant::{Key, Node, Scalar, Tolerant, skip_array, skip_object};
use crate::check::{Faulty, in_bounds};
use crate::errors::{ImportErrorKind as Kind, ImportErrors};
use crate::limits::Limits;
use crate::plan::{Category, Plan, Point, Row, Seat, SeatPlace, Section, Size};
use crate::report::IgnoredKey;

/// Most different ignored keys that are listed by name.
const MAX_IGNORED_KEYS: usize = 200;

/// A step of the path to the current value.
#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

/// The seat being read.
#[derive(Default)]
struct SeatDraft {
    guid: Option<Box<str>>,
    number: Box<str>,
    at: Option<(f64, f64)>,
    category: Option<u8>,
    accessible: bool,
}

/// What one pass collects. Indices and scratch values belong to the item being read.
pub(super) struct Reader {
    pub(super) plan: Plan,
    pub(super) errors: ImportErrors,
    pub(super) faulty: Faulty,
    pub(super) warnings: Vec<String>,
    /// Names that seats gave as category; a seat's `category` indexes this list until it is resolved.
    pub(super) used_categories: Vec<Box<str>>,
    category_ids: HashMap<Box<str>, u8>,
    ignored: HashMap<(&'static str, Box<str>), usize>,
    last_ignored: Vec<(Level, Box<str>, usize)>,
    limits: Limits,
    path: Vec<Step>,
    seats: usize,
    rows: usize,
    place: SeatPlace,
    category: Category,
    section: Section,
    section_at: Option<(f64, f64)>,
    row: Row,
    row_at: Option<(f64, f64)>,
    seat: SeatDraft,
    point: (Option<f64>, Option<f64>),
    /// The point being read has had its complaint.
    point_faulty: bool,
}

/// A value about to be read.
pub(super) struct Here<'r>(pub(super) &'r mut Reader, pub(super) Level);

impl Reader {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            plan: Plan { name: String::new(), size: None, categories: Vec::new(), sections: Vec::new() },
            errors: ImportErrors::default(),
            faulty: Faulty::default(),
            warnings: Vec::new(),
            used_categories: Vec::new(),
            category_ids: HashMap::new(),
            ignored: HashMap::new(),
            last_ignored: Vec::new(),
            limits,
            path: Vec::new(),
            seats: 0,
            rows: 0,
            place: SeatPlace { section: 0, row: 0, seat: 0 },
            category: Category { name: String::new(), color: None },
            section: empty_section(),
            section_at: None,
            row: empty_row(),
            row_at: None,
            seat: SeatDraft::default(),
            point: (None, None),
            point_faulty: false,
        }
    }

    /// The ignored keys with their counts.
    pub(super) fn take_ignored(&mut self) -> Vec<IgnoredKey> {
        let mut all: Vec<_> = self
            .last_ignored
            .drain(..)
            .map(|(level, key, count)| IgnoredKey { path: format!("{}{key}", level.pattern()), count })
            .collect();
        let rest = self.ignored.drain();
        all.extend(rest.map(|((pattern, key), count)| IgnoredKey { path: format!("{pattern}{key}"), count }));
        all
    }

    fn note_ignored(&mut self, level: Level, key: &str) {
        if let Some(known) = self.last_ignored.iter_mut().find(|(l, k, _)| *l == level && **k == *key) {
            known.2 += 1;
        } else if self.last_ignored.len() < 16 {
            // Real files have a handful of extra keys: a short list beats hashing one per seat.
            self.last_ignored.push((level, key.into(), 1));
        } else {
            let full = self.ignored.len() >= MAX_IGNORED_KEYS || key.len() > 100;
            let key = if full { "(other keys)" } else { key };
            *self.ignored.entry((level.pattern(), key.into())).or_default() += 1;
        }
    }

    fn path_to(&self, key: Option<&str>) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => _ = write!(path, ".{key}"),
                Step::Index(index) => _ = write!(path, "[{index}]"),
            }
        }
        if let Some(key) = key {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        path
    }

    fn fault(&mut self, key: Option<&str>, kind: impl FnOnce() -> Kind) {
        let mut errors = std::mem::take(&mut self.errors);
        errors.push(|| (self.path_to(key), kind()));
        self.errors = errors;
    }

    /// Notes a value of a wrong type, and whose it is.
    fn wrong(&mut self, level: Level, found: &'static str) {
        self.fault(None, || Kind::WrongType { expected: level.expected(), found });
        self.mark_faulty(level);
    }

    fn mark_faulty(&mut self, level: Level) {
        use Level as L;
        let SeatPlace { section, row, .. } = self.place;
        let (section, row) = (section as usize, row as usize);
        match level {
            L::Root | L::PlanName => self.faulty.name = true,
            L::Categories | L::Category | L::CategoryName => self.faulty.categories = true,
            L::Zone | L::ZoneName | L::Rows => _ = self.faulty.sections.insert(section),
            L::Row | L::RowLabel | L::Seats => _ = self.faulty.rows.insert((section, row)),
            L::Seat | L::Guid | L::Number | L::SeatCategory => _ = self.faulty.seats.insert(self.place),
            L::CategoryColor | L::Accessible => {}
            // What is left is positions, sizes and their numbers.
            _ => self.point_faulty = true,
        }
    }

    /// Before an item is read.
    fn enter(&mut self, level: Level, index: usize) {
        let index = index as u32;
        match level {
            Level::Category => self.category = Category { name: String::new(), color: None },
            Level::Zone => {
                self.place.section = index;
                self.section = empty_section();
                self.section_at = None;
            }
            Level::Row => {
                self.place.row = index;
                self.row = empty_row();
                self.row_at = None;
            }
            Level::Seat => {
                self.place.seat = index;
                self.seat = SeatDraft::default();
            }
            _ => {}
        }
    }

    /// After an item is read. Beyond a bound one item too many is kept, for the check to see, and
    /// the others are dropped: memory stays bounded whatever the file holds.
    fn leave(&mut self, level: Level) {
        match level {
            Level::Category => self.leave_category(),
            Level::Zone => self.leave_zone(),
            Level::Row => self.leave_row(),
            Level::Seat => self.leave_seat(),
            Level::ZonePosition => self.section_at = self.take_point(),
            Level::RowPosition => self.row_at = self.take_point(),
            Level::SeatPosition => self.seat.at = self.take_point(),
            Level::Size => self.plan.size = self.take_size(),
            _ => {}
        }
    }

    /// The point just read; `None` if there was none. A faulty one becomes the origin.
    fn take_point(&mut self) -> Option<(f64, f64)> {
        let faulty = std::mem::take(&mut self.point_faulty);
        let missing = match std::mem::take(&mut self.point) {
            (Some(x), Some(y)) if !faulty => return Some((x, y)),
            (None, None) if !faulty => return None,
            (None, _) => "x",
            _ => "y",
        };
        if !faulty {
            self.fault(Some(missing), || Kind::Missing);
        }
        // Under a seat: zones, [i], rows, [j], seats, [k], position.
        if self.path.len() == 7 {
            self.faulty.seats.insert(self.place);
        }
        Some((0.0, 0.0))
    }

    /// The size is only for drawing: half of one is none.
    fn take_size(&mut self) -> Option<Size> {
        self.point_faulty = false;
        let (Some(width), Some(height)) = std::mem::take(&mut self.point) else { return None };
        if width > 0.0 && height > 0.0 {
            return Some(Size { width: width as f32, height: height as f32 });
        }
        self.warnings.push("the size is not positive and was left out".to_owned());
        None
    }

    fn leave_category(&mut self) {
        if self.plan.categories.len() <= self.limits.categories {
            self.plan.categories.push(self.category.clone());
        }
    }

    fn leave_zone(&mut self) {
        let mut section = std::mem::replace(&mut self.section, empty_section());
        let index = self.place.section as usize;
        let faulty = self.faulty.sections.contains(&index);
        if self.section_at.is_none() && !faulty && !section.rows.is_empty() {
            self.fault(Some("position"), || Kind::Missing);
        }
        if section.name.trim().is_empty() && !faulty {
            section.name = format!("Zone {}", index + 1);
            if !section.rows.is_empty() {
                self.warnings.push(format!("zones[{index}] has no name; it is called {}", section.name));
            }
        }
        let (x, y) = self.section_at.unwrap_or_default();
        section.position = Point { x: x as f32, y: y as f32 };
        for seat in section.rows.iter_mut().flat_map(|row| &mut row.seats) {
            seat.x += x as f32;
            seat.y += y as f32;
        }
        if self.plan.sections.len() <= self.limits.sections {
            self.plan.sections.push(section);
        }
    }

    fn leave_row(&mut self) {
        let mut row = std::mem::replace(&mut self.row, empty_row());
        let (x, y) = self.row_at.unwrap_or_default();
        for seat in &mut row.seats {
            seat.x += x as f32;
            seat.y += y as f32;
        }
        row.seats.shrink_to_fit();
        self.rows += 1;
        // A row has a seat, so the bound on seats bounds the rows of a plan as well. A row that came
        // to nothing because the plan was full is not an empty row.
        let full = self.rows > self.limits.seats || (self.seats > self.limits.seats && row.seats.is_empty());
        if self.section.rows.len() <= self.limits.rows_per_section && !full {
            self.section.rows.push(row);
        }
    }

    fn leave_seat(&mut self) {
        let draft = std::mem::take(&mut self.seat);
        let known = self.faulty.seats.contains(&self.place);
        if draft.at.is_none() && !known {
            self.fault(Some("position"), || Kind::Missing);
            self.faulty.seats.insert(self.place);
        }
        if draft.category.is_none() && !known {
            self.fault(Some("category"), || Kind::Missing);
            self.faulty.seats.insert(self.place);
        }
        let (x, y) = draft.at.unwrap_or_default();
        if self.row.seats.len() <= self.limits.seats_per_row && self.seats <= self.limits.seats {
            self.seats += 1;
            self.row.seats.push(Seat {
                guid: draft.guid,
                number: draft.number,
                x: x as f32,
                y: y as f32,
                category: draft.category.unwrap_or_default(),
                accessible: draft.accessible,
                aisle_after: false,
            });
        }
    }

    fn category_id(&mut self, name: &str) -> u8 {
        if let Some(&id) = self.category_ids.get(name) {
            return id;
        }
        let Ok(id) = u8::try_from(self.used_categories.len()) else {
            // More names than a plan can list: at least this one is unknown.
            self.fault(None, || Kind::UnknownCategory { name: name.to_owned() });
            return 0;
        };
        self.used_categories.push(name.into());
        self.category_ids.insert(name.into(), id);
        id
    }

    fn number(&mut self, level: Level, value: f64) {
        if !in_bounds(value as f32) {
            self.fault(None, || Kind::Position { value });
            self.mark_faulty(level);
        }
        match level {
            Level::X | Level::Width => self.point.0 = Some(value),
            _ => self.point.1 = Some(value),
        }
    }

    fn text(&mut self, level: Level, value: &str) {
        use Level as L;
        match level {
            L::PlanName => value.clone_into(&mut self.plan.name),
            L::CategoryName => value.clone_into(&mut self.category.name),
            L::CategoryColor => {
                self.category.color = Some(value.to_owned()).filter(|color| !color.is_empty());
            }
            L::ZoneName => value.clone_into(&mut self.section.name),
            L::RowLabel => self.row.label = value.into(),
            L::Guid => self.seat.guid = Some(value.into()).filter(|_| !value.is_empty()),
            L::Number => self.seat.number = value.into(),
            L::SeatCategory => self.seat.category = Some(self.category_id(value)),
            _ => self.wrong(level, "a text"),
        }
    }
}

impl<'de> Node<'de> for Here<'_> {
    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reader, level) = self;
        let Some(keys) = level.keys() else {
            reader.wrong(level, "an object");
            return skip_object(map);
        };
        let mut seen = 0_u32;
        while let Some(key) = map.next_key_seed(Key)? {
            let Some(index) = keys.iter().position(|(name, _)| *name == key) else {
                reader.note_ignored(level, &key);
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (name, below) = keys[index];
            reader.path.push(Step::Key(name));
            if seen & (1 << index) != 0 {
                reader.fault(None, || Kind::RepeatedKey);
                map.next_value::<IgnoredAny>()?;
            } else {
                seen |= 1 << index;
                map.next_value_seed(Tolerant(Here(reader, below)))?;
                reader.leave(below);
            }
            reader.path.pop();
        }
        Ok(())
    }

    fn array<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(reader, level) = self;
        let Some(below) = level.element() else {
            reader.wrong(level, "an array");
            return skip_array(seq);
        };
        for index in 0.. {
            reader.path.push(Step::Index(index));
            reader.enter(below, index);
            let more = seq.next_element_seed(Tolerant(Here(reader, below)))?.is_some();
            if more {
                reader.leave(below);
            }
            reader.path.pop();
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn scalar(self, value: Scalar<'_>) {
        let Self(reader, level) = self;
        match value {
            Scalar::Null if level.may_be_null() => {}
            Scalar::Number(value) if matches!(level, Level::X | Level::Y | Level::Width | Level::Height) => {
                reader.number(level, value);
            }
            Scalar::Bool(value) if level == Level::Accessible => reader.seat.accessible |= value,
            Scalar::Text(value) => reader.text(level, value),
            other => reader.wrong(level, other.describe()),
        }
    }
}

fn empty_section() -> Section {
    Section { name: String::new(), position: Point::default(), rows: Vec::new() }
}

fn empty_row() -> Row {
    Row { label: "".into(), seats: Vec::new() }
}
