//! CSV: what is read, what is written, every fault with its line.

use std::fmt::Write as _;

use frontrow_venue::{Plan, Report, SAMPLE_HALL, csv, pretix};

fn import(text: &str) -> (Plan, Report) {
    csv::import(text.as_bytes(), "Test").expect("a good file")
}

/// Each row as `section/label: numbers`, `|` where an aisle is.
fn shown(plan: &Plan) -> Vec<String> {
    let rows = plan.sections.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row)));
    rows.map(|(section, row)| {
        let seats = row
            .seats
            .iter()
            .map(|seat| format!("{}{}", seat.number, if seat.aisle_after { "|" } else { " " }));
        format!("{}/{}: {}", section.name, row.label, seats.collect::<String>())
    })
    .collect()
}

/// Expects exactly these errors.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: &str) {
    let found = csv::import(text.as_ref(), "Test").expect_err("a faulty file");
    assert_eq!(found.to_string(), expected);
}

#[test]
fn the_three_columns_are_enough() {
    let (plan, report) = import("section,row,seat\nA,1,1\nA,1,2\nA,2,1\nB,1,7\nA,1,3\n");
    assert_eq!(shown(&plan), ["A/1: 1 2 3 ", "A/2: 1 ", "B/1: 7 "]);
    assert_eq!((report.seats, report.rows, report.sections, report.aisles), (5, 3, 2, 0));
    assert_eq!(report.categories[0].name, csv::DEFAULT_CATEGORY);
    assert_eq!(plan.check(), Ok(()), "the made-up drawing has each seat on a spot of its own");
    assert_eq!(plan.name, "Test");
}

#[test]
fn any_order_any_case_any_separator() {
    for text in [
        "Seat,ROW,Section,note\n 1 , A ,Left,x\n",
        "seat;row;section;note\n1;A;Left;\"x;y\"\n",
        "\u{feff}seat\trow\tsection\tnote\r\n1\tA\tLeft\tx\r\n",
        "\n\n\"seat\",row,\"section\",note\n\n1,A,Left,x",
    ] {
        let (plan, report) = import(text);
        assert_eq!(shown(&plan), ["Left/A: 1 "], "{text}");
        assert_eq!(report.ignored_keys[0].path, "note");
        assert_eq!(report.ignored_keys[0].count, 1);
    }
}

#[test]
fn aisle_after_without_positions() {
    let (plan, _) =
        import("section,row,seat,aisle_after\nA,1,1,no\nA,1,2,TRUE\nA,1,3,\nA,1,4,1\nA,2,1,yes\n");
    assert_eq!(shown(&plan), ["A/1: 1 2|3 4 ", "A/2: 1 "]);
    let xs: Vec<f32> = plan.sections[0].rows[0].seats.iter().map(|seat| seat.x).collect();
    assert_eq!(xs, [0.0, 25.0, 75.0, 100.0]);
}

#[test]
fn positions_decide_and_aisle_after_overrules() {
    let (plan, _) = import(
        "section,row,seat,x,y,aisle_after\nA,1,1,0,0,\nA,1,2,50,0,\nA,1,3,25,0,\nA,1,4,100,0,\nA,1,5,125,0,true\n\
         A,1,6,150,0,\nA,2,1,0,40,\nA,2,2,25,40,\nA,2,3,75,40,\nA,2,4,100,40,\nA,3,1,0,80,\nA,3,2,25,80,false\n\
         A,3,3,75,80,\nA,3,4,100,80,\n",
    );
    assert_eq!(shown(&plan), ["A/1: 1 3 2|4 5|6 ", "A/2: 1 2|3 4 ", "A/3: 1 2 3 4 "]);
}

#[test]
fn aisle_after_follows_its_seat_through_sorting() {
    let (plan, _) = import(
        "section,row,seat,x,y,aisle_after\nA,1,1,0,0,\nA,1,4,75,0,\nA,1,2,25,0,true\nA,1,3,50,0,\nA,1,5,100,0,\n",
    );
    assert_eq!(shown(&plan), ["A/1: 1 2|3 4 5 "]);
}

#[test]
fn categories_accessible_and_guids() {
    let (plan, report) = import(
        "section,row,seat,category,accessible,guid\nA,1,1,Gold,,g1\nA,1,2,,true,g2\nA,1,3,Rollstuhl,no,g3\nA,1,4,Gold,0,\n",
    );
    let counts: Vec<(&str, usize)> = report.categories.iter().map(|it| (&*it.name, it.seats)).collect();
    assert_eq!(counts, [("Gold", 2), ("Standard", 1), ("Rollstuhl", 1)]);
    let accessible: Vec<bool> = plan.seats().map(|(_, seat)| seat.accessible).collect();
    assert_eq!(accessible, [false, true, true, false]);
    let guids: Vec<_> = plan.seats().map(|(at, _)| plan.guid(at).unwrap()).collect();
    assert_eq!(guids, ["g1", "g2", "g3", "0-0-3"]);
}

#[test]
fn faults_of_the_header() {
    let missing = |column| {
        format!(
            "line 1: the header has no column `{column}`; add it (a header is section,row,seat and optional columns)"
        )
    };
    check("section,row\nA,1\n", &missing("seat"));
    check("", &[missing("section"), missing("row"), missing("seat")].join("\n"));
    check("section,row,seat,x\nA,1,1,0\n", &missing("y"));
    check("section,row,seat,y\nA,1,1,0\n", &missing("x"));
    check("section,row,seat,Row\nA,1,1,0\n", "line 1: the header names `row` twice; keep one of the two");
}

#[test]
fn faults_of_lines() {
    for (lines, expected) in [
        (
            "A,1,1,5,0,0\n",
            ": has 6 cells, the header has 5; add or remove cells, and quote cells with a separator",
        ),
        (",1,1,0,0\n", ": `section` is empty; fill it on every line"),
        ("A,,1,0,0\n", ": `row` is empty; fill it on every line"),
        ("A,1,,0,0\n", ": `seat` is empty; fill it on every line"),
        ("A,1,1,,0\n", ": `x` is empty; fill it on every line or remove the columns x and y"),
        ("A,1,1,0,\"1,5\"\n", ": `y` is `1,5`, which is no number; write it like 12.5"),
        ("A,1,1,NaN,0\n", ": the coordinate NaN is not a number between ±16777216; correct the position"),
        ("A,1,1,0,-inf\n", ": the coordinate -inf is not a number between ±16777216; correct the position"),
        (
            "A,1,9,100,0\n",
            ": the seat number `9` is already used in this row at line 2; number the seats of a row apart",
        ),
        ("A,2,9,99,1\n", ": stands on the same spot (99, 1) as line 2; move or remove one of the two"),
    ] {
        check(
            format!("section,row,seat,x,y\nA,1,9,99,1\n\n{lines}A,7,7,7,7\n"),
            &format!("line 4{expected}"),
        );
    }
    check(
        "section,row,seat,accessible\nA,1,1,maybe\n",
        "line 2: `accessible` is `maybe`; write true or false",
    );
    check("section,row,seat,aisle_after\nA,1,1,2\n", "line 2: `aisle_after` is `2`; write true or false");
    check(b"section,row,seat\nA,1,\xff\n", "line 2: is not UTF-8; save the file as UTF-8");
    check("section,row,seat\n", "the plan has no seats; export a plan that has some");
    check(
        "section,row,seat,guid\nA,1,1,g\nA,1,2,g\n",
        "line 3: the guid `g` is already used at line 2; give each seat its own",
    );
    check(
        "section,row,seat,guid\nA,1,1,0-0-1\nA,1,2,\n",
        "line 2: the guid `0-0-1` has the form of a generated one while some seats have none; give every seat a guid \
         or choose another form",
    );
    check(
        format!("section,row,seat\nA,{},1\n", "x".repeat(201)),
        "line 2: has 201 bytes, at most 200 are allowed; shorten it",
    );
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let fault = "line 7: `seat` is empty; fill it on every line";
    check("\nsection,row,seat\nA,1,1\n\n\nA,1,2\nA,1,\n", fault);
    check("\r\nsection,row,seat\r\nA,1,1\r\n\r\n\r\nA,1,2\r\nA,1,\r\n", fault);
    check("section,row,seat,note\nA,1,1,\"a\nb\n\nc\"\nA,1,2,\nA,1,,\n", fault);
}

#[test]
fn a_line_with_several_faults_reports_them_all() {
    check(
        "section,row,seat,x,y,accessible\n,,1,a,,perhaps\n",
        "line 2: `section` is empty; fill it on every line\n\
         line 2: `row` is empty; fill it on every line\n\
         line 2: `x` is `a`, which is no number; write it like 12.5\n\
         line 2: `y` is empty; fill it on every line or remove the columns x and y\n\
         line 2: `accessible` is `perhaps`; write true or false",
    );
}

/// A file of one line for each index.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = "section,row,seat,category\n".to_owned();
    for index in 0..count {
        text.push_str(&line(index));
        text.push('\n');
    }
    text
}

#[test]
fn bounds_are_reached_and_not_passed() {
    let seats = |count| lines(count, |i| format!("A,1,{i},"));
    assert_eq!(import(&seats(256)).1.seats, 256);
    check(seats(300), "line 2: the row has more than 256 seats; split it into two rows");

    let rows = |count| lines(count, |i| format!("A,{i},1,"));
    assert_eq!(import(&rows(65_534)).1.rows, 65_534);
    check(rows(65_600), "line 2: the section has more than 65534 rows; split it into two sections");

    let sections = |count| lines(count, |i| format!("{i},1,1,"));
    assert_eq!(import(&sections(65_534)).1.sections, 65_534);
    check(sections(65_600), "the plan has more than 65534 sections; merge some");

    let categories = |count| lines(count, |i| format!("A,{i},1,c{i}"));
    assert_eq!(import(&categories(256)).1.categories.len(), 256);
    check(categories(300), "line 258: the plan has more than 256 categories; merge some");
}

#[test]
fn the_real_hall_round_trips() {
    let (plan, _) = pretix::import(SAMPLE_HALL.as_bytes()).unwrap();
    let mut text = Vec::new();
    csv::export(&plan, &mut text).unwrap();
    let (again, report) = csv::import(&text, &plan.name).unwrap();
    assert_eq!((report.seats, report.aisles), (1222, 53));
    let strip = |plan: &Plan| {
        let seats: Vec<_> = plan
            .seats()
            .map(|(at, seat)| {
                let category = plan.categories[usize::from(seat.category)].name.clone();
                (at, category, frontrow_venue::Seat { category: 0, ..seat.clone() })
            })
            .collect();
        let rows: Vec<_> = plan
            .sections
            .iter()
            .flat_map(|s| s.rows.iter().map(|r| (s.name.clone(), r.label.clone())))
            .collect();
        (seats, rows)
    };
    assert_eq!(strip(&plan), strip(&again));
}

#[test]
fn positions_alone_find_the_same_aisles_as_pretix() {
    let (plan, _) = pretix::import(SAMPLE_HALL.as_bytes()).unwrap();
    let mut text = "section,row,seat,x,y\n".to_owned();
    for (at, seat) in plan.seats() {
        let section = &plan.sections[at.section as usize];
        let row = &section.rows[at.row as usize];
        writeln!(text, "{},{},{},{},{}", section.name, row.label, seat.number, seat.x, seat.y).unwrap();
    }
    assert_eq!(shown(&import(&text).0), shown(&plan));
}
