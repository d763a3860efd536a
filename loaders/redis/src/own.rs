//! The loader's own keys beside the rows of a target.
//!
//! All of one target have its name as their hash tag, so that they are in one slot of a cluster and change together.

/// What the names of our own keys begin with.
pub(crate) const PREFIX: &str = "arrowload:";

/// The names of a target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    target: String,
    /// A hash: the columns and key patterns of the target. See [`Record`](crate::record::Record).
    pub(crate) record: String,
    /// The generation that readers are to see.
    pub(crate) generation: String,
    /// A hash: the attempts that are in progress or were cut off. See [`Attempt`](crate::lease::Attempt).
    pub(crate) attempts: String,
    /// The record of the load.
    pub(crate) ledger: String,
}

/// A name in braces, which must hold none.
fn escape(text: &str) -> String {
    text.replace('%', "%25")
        .replace('{', "%7B")
        .replace('}', "%7D")
}

impl Own {
    pub(crate) fn of(target: &str, load_id: &str) -> Self {
        let own = |name: &str| format!("{PREFIX}{{{}}}:{name}", escape(target));
        Self {
            target: target.to_owned(),
            record: own("target"),
            generation: own("generation"),
            attempts: own("attempts"),
            ledger: Self::ledger_of(target, load_id),
        }
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The record of any load of the target.
    pub(crate) fn ledger_of(target: &str, load_id: &str) -> String {
        format!("{PREFIX}{{{}}}:load:{load_id}", escape(target))
    }

    /// The lease of an attempt: there as long as it shows that it is alive.
    pub(crate) fn lease(&self, nonce: &str) -> String {
        format!("{PREFIX}{{{}}}:lease:{nonce}", escape(&self.target))
    }
}
