//! How large a plan may be. Each bound is checked by every importer and by [`crate::Plan::check`].

/// Most seats in one row: a seat's place in its row fits in a byte.
pub const MAX_SEATS_PER_ROW: usize = 256;
/// Most rows in one section: a row's index fits in 16 bits with two values to spare.
pub const MAX_ROWS_PER_SECTION: usize = 65_534;
/// Most sections in one plan: a section's index fits in 16 bits with two values to spare.
pub const MAX_SECTIONS: usize = 65_534;
/// Most seats in one plan.
pub const MAX_SEATS: usize = 20_000_000;
/// Most categories in one plan: a category's index fits in a byte.
pub const MAX_CATEGORIES: usize = 256;
/// Longest name, label, seat number or guid, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 200;
/// Largest coordinate to either side of zero, in pixels: up to here an `f32` tells whole pixels apart.
pub const MAX_COORDINATE: f32 = 16_777_216.0;
/// Largest JSON file that is read, in bytes (1 GiB, about 5 million seats as pretix writes them).
/// Larger halls come as CSV.
pub const MAX_JSON_BYTES: usize = 1 << 30;
/// Largest CSV file that is read, in bytes (2 GiB).
pub const MAX_CSV_BYTES: usize = 2 << 30;
/// Most errors kept from one import; the rest are counted.
pub const MAX_ERRORS: usize = 100;

/// The bounds as values, so that tests can reach the large ones with small plans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) seats_per_row: usize,
    pub(crate) rows_per_section: usize,
    pub(crate) sections: usize,
    pub(crate) seats: usize,
    pub(crate) categories: usize,
    pub(crate) json_bytes: usize,
    pub(crate) csv_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            seats_per_row: MAX_SEATS_PER_ROW,
            rows_per_section: MAX_ROWS_PER_SECTION,
            sections: MAX_SECTIONS,
            seats: MAX_SEATS,
            categories: MAX_CATEGORIES,
            json_bytes: MAX_JSON_BYTES,
            csv_bytes: MAX_CSV_BYTES,
        }
    }
}
