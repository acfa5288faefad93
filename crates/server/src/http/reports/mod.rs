//! `/v1/reports`: what administrators look through (protocol 9). Reports read and change nothing.

pub mod at_risk;
