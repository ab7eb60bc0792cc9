//! What came of a run: one model ([`model`]), written and read in several ways.

pub mod model;
