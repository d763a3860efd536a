//! The guarantees in the plans of a subject's targets, for each mode: the cases test only these.

use arrowload_core::{
    Atomicity, Capabilities, ErrorKind, Guarantees, Loader, Mode, load, plan_load,
};

use crate::Subject;
use crate::context::{once, people, spec_of};

/// The guarantees of each mode that these targets have.
pub(crate) struct Held(Vec<(Mode, Guarantees)>);

impl Held {
    /// What is declared, for every mode: where the plans cannot be asked, so that the cases say what is wrong.
    pub(crate) fn as_declared(capabilities: &Capabilities) -> Self {
        let all = capabilities.modes.iter();
        Self(
            all.map(|mode| (*mode, Guarantees::of(capabilities)))
                .collect(),
        )
    }

    /// The guarantees in the plans for a missing and for an existing target. A mode that one of them does not support is left
    /// out.
    pub(crate) async fn ask(subject: &dyn Subject, targets: [String; 2]) -> Option<Self> {
        let descriptor = subject.descriptor();
        let loader = Loader::connect(&descriptor, &subject.connection(), 2)
            .await
            .ok()?;
        let [missing, there] = targets;
        let batch = people(0..2, "held");
        for mode in descriptor.capabilities().modes {
            let made = load(&loader, &spec_of(&there, *mode), &once(&batch)).await;
            if made.is_ok() {
                break;
            }
        }
        let mut held = Vec::new();
        for mode in descriptor.capabilities().modes {
            let mut kept: Option<Guarantees> = None;
            let mut supported = true;
            for target in [&missing, &there] {
                match plan_load(&loader, &spec_of(target, *mode), &once(&batch)).await {
                    Ok(plan) => {
                        kept = Some(
                            kept.map_or(plan.guarantees, |kept| narrower(kept, plan.guarantees)),
                        );
                    }
                    Err(error) if error.kind() == ErrorKind::Unsupported => supported = false,
                    Err(_) => {}
                }
            }
            if let (true, Some(kept)) = (supported, kept) {
                held.push((*mode, kept));
            }
        }
        (!held.is_empty()).then_some(Self(held))
    }

    pub(crate) fn modes(&self) -> impl Iterator<Item = Mode> {
        self.0.iter().map(|(mode, _)| *mode)
    }

    pub(crate) fn of(&self, mode: Mode) -> Option<Guarantees> {
        self.0
            .iter()
            .find(|(known, _)| *known == mode)
            .map(|(_, kept)| *kept)
    }

    /// Whether one mode holds it.
    pub(crate) fn any(&self, held: impl Fn(&Guarantees) -> bool) -> bool {
        self.0.iter().any(|(_, kept)| held(kept))
    }

    /// Compares the declared capabilities with the guarantees of the plans, and with those that the subject says are never
    /// kept.
    pub(crate) fn check(&self, capabilities: &Capabilities, never: &[&str]) -> Result<(), String> {
        let any = |held: fn(&Guarantees) -> bool| self.any(held);
        let atomic = self.any(|kept| kept.atomicity == capabilities.atomicity);
        let mut facts = vec![
            (
                "atomicity",
                capabilities.atomicity != Atomicity::Row,
                atomic,
            ),
            (
                "exactly_once",
                capabilities.load_ids,
                any(|kept| kept.exactly_once),
            ),
            ("checksum", capabilities.checksum, any(|kept| kept.checksum)),
            (
                "skip_rows",
                capabilities.skip_rows,
                any(|kept| kept.skip_rows),
            ),
            (
                "change_limits",
                capabilities.change_limits,
                any(|kept| kept.change_limits),
            ),
        ];
        for mode in capabilities.modes {
            facts.push((mode.name(), true, self.of(*mode).is_some()));
        }
        for (name, declared, held) in facts {
            let excused = never.contains(&name);
            if declared && !held && !excused {
                return Err(format!(
                    "it declares `{name}`, and no plan of these targets holds it; declare less, or list it in `never_kept`"
                ));
            }
            if held && excused {
                return Err(format!("`{name}` is never kept, and a plan holds it"));
            }
        }
        Ok(())
    }
}

/// What both hold.
fn narrower(one: Guarantees, two: Guarantees) -> Guarantees {
    let mut both = one;
    both.exactly_once &= two.exactly_once;
    both.checksum &= two.checksum;
    both.skip_rows &= two.skip_rows;
    both.change_limits &= two.change_limits;
    if two.atomicity != Atomicity::Load && one.atomicity != Atomicity::Row {
        both.atomicity = two.atomicity;
    }
    both
}
