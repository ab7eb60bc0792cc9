//! What came of a run: one model ([`model`]), written and read in several ways.

pub(crate) mod absence;
mod answer;
mod buyers;
mod capacity;
mod chart;
mod compare;
mod error;
mod finite;
mod folder;
mod history;
mod latency;
pub mod model;
mod page;
mod saturation;
mod stats;
mod style;
mod summary;
mod svg;
mod usl;
mod verdict;
pub(crate) mod words;

pub use capacity::{Capacity, Cores, Fit, Question, capacity};
pub use compare::{Change, Comparison, Judgement, compare};
pub use error::ReportError;
pub use folder::{read, write};
pub use history::{Entry, History, history, remember};
pub use latency::latency;
pub use model::*;
pub use page::page;
pub use saturation::{Resource, Saturated, Saturation};
pub use summary::summary;
pub use usl::{Estimate, NoFit, Usl};
pub use verdict::{Tone, Verdict};
