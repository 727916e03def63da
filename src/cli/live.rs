//! The live view of `topology --watch` on a terminal: nodes, caches and what changed lately, drawn
//! anew with every view and once a second. `q`, Escape or an interrupt ends it.

use super::colour::{self, Tone};
use super::interrupt::interrupted;
use super::outcome::{Answer, Failure, Outcome};
use super::topology::{lost, role, state, state_tone};
use crate::client::Client;
use crate::client::messages::partition_table_response::Cache;
use crate::client::messages::{PartitionTableResponse, TopologyResponse};
use futures_util::{StreamExt, stream};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the tables are looked at while nothing changes the view.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the keyboard's thread looks whether it is still wanted.
const KEYS_INTERVAL: Duration = Duration::from_millis(100);

/// How many changes are remembered.
const CHANGES_MAX: usize = 100;

/// How wide a bar of partitions is.
const BAR: usize = 16;

/// What is shown.
#[derive(Debug, Default)]
struct Screen {
    view: TopologyResponse,
    caches: Vec<Cache>,
    /// Latest first.
    changes: VecDeque<String>,
    /// Why nothing new is known.
    trouble: Option<String>,
}

/// Shows the cluster until it is ended.
pub(super) async fn show(client: &Client) -> Outcome {
    let refused = |error: std::io::Error| Failure::failed(format!("the terminal: {error}"));
    let interrupted = interrupted();
    let mut terminal = ratatui::try_init().map_err(refused)?;
    let mut ends = keyboard();
    let drawing = follow(client, |screen| {
        terminal.draw(|frame| draw(frame, screen)).map(|_| ())
    });
    let ended = tokio::select! {
        ended = drawing => ended,
        _ = ends.recv() => Ok(()),
        // The terminal is given back as it was.
        _ = interrupted => Ok(()),
    };
    ratatui::restore();
    ended.map_err(refused)?;
    Ok(Answer::Yes)
}

async fn follow(
    client: &Client,
    mut draw: impl FnMut(&Screen) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut screen = Screen::default();
    // As streams, so that what one of them waits for goes on while the other has something to tell.
    let views = stream::unfold(client.watch_topology(), |mut views| async move {
        let view = views.next().await;
        if view.is_err() {
            // The client has waited already; this only keeps a refusal from spinning.
            tokio::time::sleep(KEYS_INTERVAL).await;
        }
        Some((view, views))
    });
    let looks = tokio::time::interval(LOOK_INTERVAL);
    let tables = stream::unfold(looks, |mut looks| async move {
        looks.tick().await;
        Some((client.partition_table("").await, looks))
    });
    let (mut views, mut tables) = (pin!(views), pin!(tables));
    loop {
        tokio::select! {
            Some(view) = views.next() => match view {
                Ok(view) => screen.take_view(view),
                Err(error) => screen.trouble = Some(error.to_string()),
            },
            Some(table) = tables.next() => match table {
                Ok(table) => screen.take_table(table),
                Err(error) => screen.trouble = Some(error.to_string()),
            },
            else => return Ok(()),
        }
        if screen.tells_something() {
            draw(&screen)?;
        }
    }
}

/// Says when somebody wants to end.
fn keyboard() -> mpsc::Receiver<()> {
    let (ends, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        while !ends.is_closed() {
            let Ok(ready) = event::poll(KEYS_INTERVAL) else {
                return;
            };
            if ready && event::read().is_ok_and(|event| is_end(&event)) {
                let _ = ends.try_send(());
                return;
            }
        }
    });
    receiver
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

impl Screen {
    /// Without a view there is nothing to see but why there is none.
    fn tells_something(&self) -> bool {
        self.trouble.is_some() || !self.view.nodes.is_empty()
    }

    fn take_view(&mut self, view: TopologyResponse) {
        self.trouble = None;
        let number = number(&view);
        let first = self.view.nodes.is_empty();
        for change in changes(&self.view, &view) {
            if !first {
                self.changes
                    .push_front(format!("version {number}: {change}"));
            }
        }
        self.changes.truncate(CHANGES_MAX);
        self.view = view;
    }

    fn take_table(&mut self, table: PartitionTableResponse) {
        self.trouble = None;
        self.caches = table.caches;
    }
}

fn number(view: &TopologyResponse) -> u64 {
    view.version.as_ref().map_or(0, |version| version.number)
}

/// What is different between two views, in words.
fn changes(old: &TopologyResponse, new: &TopologyResponse) -> Vec<String> {
    fn lives(view: &TopologyResponse) -> BTreeMap<&str, u64> {
        let nodes = view.nodes.iter();
        nodes
            .map(|node| (node.consistent_id.as_str(), node.incarnation))
            .collect()
    }
    let (before, after) = (lives(old), lives(new));
    let mut said = Vec::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        said.push(format!("{name} is gone"));
    }
    for (name, life) in &after {
        match before.get(name) {
            None => said.push(format!("{name} is here")),
            Some(other) if other != life => said.push(format!("{name} was started again")),
            Some(_) => {}
        }
    }
    if old.coordinator != new.coordinator {
        said.push(format!("the coordinator is {}", new.coordinator));
    }
    said
}

fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let rows = |count: usize| u16::try_from(count + 3).unwrap_or(u16::MAX);
    let [head, nodes, caches, changes, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Max(rows(screen.view.nodes.len())),
        Constraint::Max(rows(screen.caches.len())),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let view = &screen.view;
    frame.render_widget(
        Paragraph::new(format!(
            "cluster {}  topology version {}  coordinator {}  asked {}",
            view.cluster_name,
            number(view),
            view.coordinator,
            view.self_
        )),
        head,
    );
    frame.render_widget(nodes_table(view), nodes);
    frame.render_widget(caches_table(&screen.caches), caches);
    let lines: Vec<&str> = screen.changes.iter().map(String::as_str).collect();
    let log = Paragraph::new(lines.join("\n")).block(Block::bordered().title("changes"));
    frame.render_widget(log, changes);
    let foot_text = match &screen.trouble {
        None => "q ends".to_owned(),
        Some(trouble) => format!("q ends  nothing new: {trouble}"),
    };
    let tone = screen.trouble.as_ref().map(|_| Tone::Bad);
    frame.render_widget(Paragraph::new(foot_text).style(style(tone)), foot);
}

fn nodes_table(view: &TopologyResponse) -> Table<'_> {
    let rows = view.nodes.iter().map(|node| {
        Row::new([
            Cell::from(node.consistent_id.as_str()),
            Cell::from(node.address.as_str()),
            Cell::from(role(node)),
            Cell::from(state(node)).style(style(Some(state_tone(node)))),
            Cell::from(node.version.as_str()),
        ])
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(3),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    Table::new(rows, widths)
        .header(Row::new(["node", "address", "role", "state", "version"]))
        .block(Block::bordered().title("nodes"))
}

fn caches_table(caches: &[Cache]) -> Table<'_> {
    let rows = caches.iter().map(|cache| {
        let (owned, loading, lost) = (cache.copies_owned, cache.copies_loading, lost(cache));
        let tone = match (loading, lost) {
            (0, 0) => Tone::Good,
            (_, 0) => Tone::Passing,
            _ => Tone::Bad,
        };
        Row::new([
            Cell::from(cache.name.as_str()),
            Cell::from(cache.partitions.len().to_string()),
            Cell::from(bar(owned, loading)).style(style(Some(tone))),
            Cell::from(owned.to_string()),
            Cell::from(loading.to_string()),
            Cell::from(lost.to_string()),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(18),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let headings = [
        "cache",
        "partitions",
        "in place",
        "copies",
        "loading",
        "lost",
    ];
    Table::new(rows, widths)
        .header(Row::new(headings))
        .block(Block::bordered().title("caches"))
}

/// The part of copies that are in place.
fn bar(owned: u64, loading: u64) -> String {
    let all = owned.saturating_add(loading);
    let filled = (BAR as u64 * owned).checked_div(all).unwrap_or_default();
    let filled = usize::try_from(filled).unwrap_or(BAR).min(BAR);
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled))
}

fn style(tone: Option<Tone>) -> Style {
    let colour = match tone {
        _ if !colour::wanted() => return Style::new(),
        None => return Style::new(),
        Some(Tone::Good) => Color::Green,
        Some(Tone::Passing) => Color::Yellow,
        Some(Tone::Bad) => Color::Red,
        Some(Tone::Number(_)) => Color::Blue,
    };
    Style::new().fg(colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::messages::Node;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    fn view(names: &[&str]) -> TopologyResponse {
        let node = |name: &&str| Node {
            consistent_id: (*name).to_owned(),
            incarnation: 1,
            ..Node::default()
        };
        TopologyResponse {
            nodes: names.iter().map(node).collect(),
            coordinator: names[0].to_owned(),
            cluster_name: "sign-on".to_owned(),
            ..TopologyResponse::default()
        }
    }

    #[test]
    fn the_screen_shows_nodes_caches_and_changes() {
        let mut screen = Screen::default();
        screen.take_view(view(&["node-1", "node-2"]));
        assert!(screen.changes.is_empty(), "the first view is no change");
        screen.take_view(view(&["node-2", "node-3"]));
        screen.take_table(PartitionTableResponse {
            caches: vec![Cache {
                name: "sessions".to_owned(),
                copies_owned: 1,
                copies_loading: 1,
                ..Cache::default()
            }],
            ..PartitionTableResponse::default()
        });
        let mut terminal = Terminal::new(TestBackend::new(90, 20)).expect("a screen");
        terminal
            .draw(|frame| draw(frame, &screen))
            .expect("it is drawn");
        let text = terminal.backend().to_string();
        for word in [
            "cluster sign-on",
            "node-3",
            "sessions",
            "████████░░░░░░░░",
            "node-1 is gone",
            "node-3 is here",
            "the coordinator is node-2",
            "q ends",
        ] {
            assert!(text.contains(word), "{word} is missing:\n{text}");
        }
    }

    #[test]
    fn a_node_that_was_started_again_is_told() {
        let old = view(&["node-1"]);
        let mut new = view(&["node-1"]);
        new.nodes[0].incarnation = 2;
        assert_eq!(changes(&old, &new), ["node-1 was started again"]);
    }

    #[test]
    fn keys_end_it() {
        let pressed = |code, modifiers| is_end(&Event::Key(KeyEvent::new(code, modifiers)));
        assert!(pressed(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!pressed(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!is_end(&Event::Resize(80, 24)));
    }

    #[test]
    fn bars_are_full_when_all_is_in_place() {
        assert_eq!(bar(7, 0), "█".repeat(BAR));
        assert_eq!(bar(0, 0), "░".repeat(BAR));
    }
}
