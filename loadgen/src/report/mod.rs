//! What came of a run: one model ([`model`]), written and read in several ways.

mod error;
mod finite;
mod folder;
mod latency;
pub mod model;
mod page;
mod saturation;
mod summary;
mod svg;
mod verdict;
mod words;

pub use error::ReportError;
pub use folder::{read, write};
pub use latency::latency;
pub use page::page;
pub use saturation::{Resource, Saturated, Saturation};
pub use summary::summary;
pub use verdict::{Tone, Verdict};
