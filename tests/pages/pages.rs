//! The pages in a real browser: what people see, press and are told, and what the pages keep to.

mod accessible;
mod admin;
mod front;
