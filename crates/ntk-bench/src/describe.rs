//! What can be asked about the project itself: the format of network files, and what each interpretation knows.

mod examples;
mod schema;
mod support;

pub use schema::schema;
pub use support::support;
