//! Chappe.

pub mod net;
