//! Tables of values with lines around them, as wide as the terminal at most.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width};

/// The lines of a table, as Arrow's other tools draw them.
const LINES: &str = "||--+-++|    ++++++";
/// A column gets this much of a narrow terminal at most, if others have no room.
const WIDEST: usize = 40;

/// Names of columns, and rows of cells.
pub(crate) struct Grid {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) fn new(head: impl Iterator<Item = String>) -> Self {
        Self {
            head: head.collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table, and how many of its columns have no room in it. Cells that are too wide go over several lines.
    pub(crate) fn draw(&self, width: Option<u16>) -> (String, usize) {
        let all = self.head.len();
        let widths = self.widths();
        let shown = match width {
            None => all,
            Some(width) => fitting(&widths, usize::from(width)),
        };
        let mut table = Table::new();
        table.load_preset(LINES);
        let mut is_tight = false;
        if let Some(width) = width {
            let needed: usize = widths[..shown].iter().map(|width| width + 3).sum::<usize>() + 1;
            is_tight = needed > usize::from(width);
            if is_tight {
                table
                    .set_content_arrangement(ContentArrangement::Dynamic)
                    .set_width(width);
            }
        }
        table.set_header(self.head[..shown].iter().map(Cell::new));
        for row in &self.rows {
            table.add_row(row[..shown].iter().map(Cell::new));
        }
        if is_tight {
            for (column, width) in table.column_iter_mut().zip(&widths) {
                // What is narrow stays on one line.
                if *width < WIDEST / 2 {
                    let width = u16::try_from(*width + 2).unwrap_or(u16::MAX);
                    column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
                }
            }
        }
        (table.to_string(), all - shown)
    }

    /// The widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let width = |text: &String| text.lines().map(|line| line.chars().count()).max();
        let column = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let cells = cells.chain([&self.head[index]]).filter_map(width);
            cells.max().unwrap_or(0)
        };
        (0..self.head.len()).map(column).collect()
    }
}

/// How many columns have room, each as wide as it is, or as a column is at most.
fn fitting(widths: &[usize], width: usize) -> usize {
    let mut used = 1;
    let fits = |column: &&usize| {
        used += (**column).min(WIDEST) + 3;
        used <= width
    };
    let fitting = widths.iter().take_while(fits).count();
    fitting.max(1).min(widths.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal() {
        let head = ["id", "name", "text", "more"].map(str::to_owned);
        let mut grid = Grid::new(head.into_iter());
        grid.add(
            ["1", "Ada", &"long ".repeat(30), "x"]
                .map(str::to_owned)
                .to_vec(),
        );
        let (all, left_out) = grid.draw(None);
        assert!(
            left_out == 0 && all.lines().any(|line| line.len() > 150),
            "{all}"
        );
        for width in [30, 60, 80, 120] {
            let (text, left_out) = grid.draw(Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(usize::from(width)), "{width}: {text}");
            assert_eq!(left_out > 0, width < 70, "{width}: {text}");
        }
    }
}
