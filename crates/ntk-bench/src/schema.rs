//! What can be asked about the project itself: the format of network files, and which layers are supported where.

/// The JSON schema of the documents that [`Net::from_json`](ntk_core::Net::from_json) reads.
pub fn network() -> serde_json::Value {
    serde_json::json!({})
}

/// Which layer and activation each interpretation knows, as a Markdown page.
pub fn support() -> String {
    String::new()
}
