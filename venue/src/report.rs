//! What an import read, for the person who asked for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::arrange::count_aisles;
use crate::check::spot_key;
use crate::detect::Format;
use crate::plan::Plan;

/// A summary of an imported plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the input was.
    pub format: Format,
    /// The plan's name.
    pub plan: String,
    /// How many seats.
    pub seats: usize,
    /// How many rows.
    pub rows: usize,
    /// How many sections.
    pub sections: usize,
    /// The categories with their seats, in the order of the plan.
    pub categories: Vec<CategoryCount>,
    /// How many aisles break rows.
    pub aisles: usize,
    /// How many seats are meant for wheelchair users.
    pub accessible: usize,
    /// Keys (CSV: columns) that were not read.
    pub ignored_keys: Vec<IgnoredKey>,
    /// What was read but looks odd.
    pub warnings: Vec<String>,
}

/// A category and how many seats are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryCount {
    /// The category's name.
    pub name: String,
    /// How many seats.
    pub seats: usize,
}

/// A key that was not read, and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IgnoredKey {
    /// The key with its place: `zones[].rows[].row_number_position`; for CSV the column's name.
    pub path: String,
    /// How often.
    pub count: usize,
}

impl Report {
    /// Counts a checked plan.
    pub(crate) fn of(
        plan: &Plan,
        format: Format,
        mut ignored_keys: Vec<IgnoredKey>,
        mut warnings: Vec<String>,
    ) -> Self {
        ignored_keys.sort();
        let mut counts = vec![0; plan.categories.len()];
        let (mut seats, mut accessible) = (0, 0);
        for (_, seat) in plan.seats() {
            seats += 1;
            accessible += usize::from(seat.accessible);
            if let Some(count) = counts.get_mut(usize::from(seat.category)) {
                *count += 1;
            }
        }
        let categories: Vec<_> = plan
            .categories
            .iter()
            .zip(counts)
            .map(|(category, seats)| CategoryCount { name: category.name.clone(), seats })
            .collect();
        let unused = categories.iter().filter(|category| category.seats == 0);
        warnings.extend(unused.map(|category| format!("no seat is in category {}", category.name)));
        warnings.extend(shared_spots(plan));
        Self {
            format,
            plan: plan.name.clone(),
            seats,
            rows: plan.row_count(),
            sections: plan.sections.len(),
            categories,
            aisles: count_aisles(&plan.sections),
            accessible,
            ignored_keys,
            warnings,
        }
    }
}

/// Warns when sections are drawn on top of each other: legal, but a buyer could not tell the seats apart.
fn shared_spots(plan: &Plan) -> Option<String> {
    let mut spots: Vec<(u32, u32)> = plan.seats().map(|(_, seat)| spot_key(seat)).collect();
    spots.sort_unstable();
    let shared = spots.windows(2).filter(|pair| pair[0] == pair[1]).count();
    (shared > 0).then(|| {
        format!("{shared} seats stand on the spot of a seat of another section; the seat map will show one of the two")
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<12}{value}");
        line("plan", &self.plan)?;
        line("format", &self.format)?;
        line("sections", &self.sections)?;
        line("rows", &self.rows)?;
        line("seats", &self.seats)?;
        line("aisles", &self.aisles)?;
        line("accessible", &self.accessible)?;
        for category in &self.categories {
            line("category", &format_args!("{} ×{}", category.name, category.seats))?;
        }
        for key in &self.ignored_keys {
            line("ignored", &format_args!("{} ×{}", key.path, key.count))?;
        }
        for warning in &self.warnings {
            line("warning", warning)?;
        }
        Ok(())
    }
}
