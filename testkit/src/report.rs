//! What the suite found, case by case.

use std::fmt;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseOutcome {
    /// The promise holds.
    Passed,
    /// The loader does not declare what the case is about, and refuses it as it must.
    NotDeclared,
    /// The promise is broken, in this way.
    Failed(String),
}

/// The outcome of every case, and how each type of column arrived.
#[derive(Debug, Clone, Default)]
pub struct ConformanceReport {
    pub(crate) loader: String,
    pub(crate) cases: Vec<(String, CaseOutcome)>,
    pub(crate) types: Vec<(String, String)>,
}

impl ConformanceReport {
    /// Every case, in the order it was run.
    pub fn cases(&self) -> &[(String, CaseOutcome)] {
        &self.cases
    }

    /// The names and reasons of the cases that failed.
    pub fn failures(&self) -> Vec<(&str, &str)> {
        let failed = self
            .cases
            .iter()
            .filter_map(|(name, outcome)| match outcome {
                CaseOutcome::Failed(why) => Some((name.as_str(), why.as_str())),
                _ => None,
            });
        failed.collect()
    }

    /// Panics with every case that failed, if one did.
    #[expect(clippy::panic, reason = "this is the assertion")]
    pub fn assert(&self) {
        assert!(!self.cases.is_empty(), "the suite ran no case");
        if !self.failures().is_empty() {
            panic!("{self}");
        }
    }

    /// How each Arrow type arrived, as a Markdown table.
    pub fn support_table(&self) -> String {
        let mut table = String::from("| Arrow type | arrives |\n|---|---|\n");
        for (arrow_type, arrives) in &self.types {
            // Text in angle brackets must not become HTML.
            let arrives = arrives.replace('|', "\\|").replace('<', "\\<");
            table.push_str(&format!(
                "| `{}` | {arrives} |\n",
                arrow_type.replace('|', "\\|")
            ));
        }
        table
    }
}

impl fmt::Display for ConformanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted: fn(&CaseOutcome) -> bool| {
            self.cases
                .iter()
                .filter(|(_, outcome)| wanted(outcome))
                .count()
        };
        let passed = count(|outcome| *outcome == CaseOutcome::Passed);
        let not_declared = count(|outcome| *outcome == CaseOutcome::NotDeclared);
        let failures = self.failures();
        let loader = &self.loader;
        writeln!(
            f,
            "conformance of {loader}: {passed} passed, {} failed, {not_declared} not declared",
            failures.len()
        )?;
        // Failures with the same cause are reported once.
        let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, why) in failures {
            match causes.iter_mut().find(|(known, _)| *known == why) {
                Some((_, names)) => names.push(name),
                None => causes.push((why, vec![name])),
            }
        }
        for (why, names) in causes {
            match names.as_slice() {
                [name] => writeln!(f, "  FAILED {name}: {why}")?,
                names => writeln!(
                    f,
                    "  FAILED {} cases ({}): {why}",
                    names.len(),
                    names.join("; ")
                )?,
            }
        }
        Ok(())
    }
}
