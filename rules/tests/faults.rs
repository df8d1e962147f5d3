//! What an author reads when a configuration is wrong.

use rules::Configuration;

fn faults(files: &[(&str, &str)]) -> String {
    let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    match Configuration::parse(&files) {
        Ok(_) => "no fault".into(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn every_fault_is_told_at_once_and_at_its_place() {
    let rules = r#"
rules:
  - name: build
    kind: KojiBuildComplete
    do: [{ tasks: [rpmlint] }]
  - name: tag
    kind: KojiTagChanged
    when: { tag: { $regexp: "x" }, name: { $in: vim } }
    do:
      - taks: [rpmlnt]
        tasks: [rpmlnt]
        item: "{{ body.tag }"
  - name: tag
    topics: [a.b]
    priority: high
    expires: 1 fortnight
    do: [{ tasks: [rpmlint], item: [1] }]
"#;
    let tasks = "tasks:\n  rpmlint: { run: \"rpmlint {{ item }}\", timout: 3m }\n";
    insta::assert_snapshot!(faults(&[("rules.yml", rules), ("tasks.yml", tasks)]), @r#"
    rules.yml:4:11: rule build names the unknown kind 'KojiBuildComplete'; did you mean 'KojiBuildCompleted'?
    4 |     kind: KojiBuildComplete
      |           ^^^^^^^^^^^^^^^^^

    rules.yml:8:20: unknown operator $regexp; did you mean '$regex'?
    8 |     when: { tag: { $regexp: "x" }, name: { $in: vim } }
      |                    ^^^^^^^

    rules.yml:10:9: unknown key 'taks' of an entry of do; did you mean 'tasks'?
    10 |       - taks: [rpmlnt]
       |         ^^^^

    rules.yml:11:17: rule tag names the unknown task 'rpmlnt'; did you mean 'rpmlint'?
    11 |         tasks: [rpmlnt]
       |                 ^^^^^^

    rules.yml:12:15: not a template: unexpected `}`, expected end of variable block
    12 |         item: "{{ body.tag }"
       |               ^^^^^^^^^^^^^^^

    rules.yml:13:5: there is another rule 'tag' at rules.yml:6
    13 |   - name: tag
       |     ^

    rules.yml:15:15: priority is a whole number, not a text
    15 |     priority: high
       |               ^^^^

    rules.yml:16:14: '1 fortnight' is not a length of time; write it as 30s, 5m, 2h or 7d
    16 |     expires: 1 fortnight
       |              ^^^^^^^^^^^

    rules.yml:17:10: rule tag needs 'item_type' here: no kind names one
    17 |     do: [{ tasks: [rpmlint], item: [1] }]
       |          ^

    rules.yml:17:36: item is a text with {{ … }} in it, not a list
    17 |     do: [{ tasks: [rpmlint], item: [1] }]
       |                                    ^

    tasks.yml:2:19: run is a list of arguments, not a shell's line: write [rpmlint, ARGUMENT, …], or [sh, -c, LINE] where a shell is meant
    2 |   rpmlint: { run: "rpmlint {{ item }}", timout: 3m }
      |                   ^^^^^^^^^^^^^^^^^^^^

    tasks.yml:2:41: unknown key 'timout' of a task; did you mean 'timeout'?
    2 |   rpmlint: { run: "rpmlint {{ item }}", timout: 3m }
      |                                         ^^^^^^
    "#);
}

#[test]
fn a_pattern_of_result_files_stays_in_the_working_folder() {
    let text = r#"
tasks:
  a:
    run: ["true"]
    results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
"#;
    insta::assert_snapshot!(faults(&[("all.yml", text)]), @r#"
    all.yml:5:25: '/etc/*.xml' is no pattern of files: it is relative to the working folder, and stays in it
    5 |     results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
      |                         ^^^^^^^^^^^^

    all.yml:5:39: 'a/../b' is no pattern of files: it is relative to the working folder, and stays in it
    5 |     results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
      |                                       ^^^^^^^^

    all.yml:5:49: '[' is no pattern of files: unclosed character class; missing ']'
    5 |     results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
      |                                                 ^^^

    all.yml:5:83: exit_code has no files to name: write only exit_code
    5 |     results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
      |                                                                                   ^

    all.yml:5:88: a result format with files is a mapping of one key: { junit: PATTERN }
    5 |     results: [{ junit: ["/etc/*.xml", "a/../b", "[", "out/*.xml"] }, { exit_code: x }, { tap: a, tmt: b }]
      |                                                                                        ^
    "#);
}

#[test]
fn bounds_say_what_they_may_be() {
    let text = r#"
tasks:
  a:
    run: ["true"]
    limits: { memory: 2 GB or so, cpus: 0, processes: 0, files: many }
    network: none
    sandbox: chroot
"#;
    insta::assert_snapshot!(faults(&[("all.yml", text)]), @r#"
    all.yml:5:23: limits.memory is a size such as 500KiB, 50MiB or 1GiB
    5 |     limits: { memory: 2 GB or so, cpus: 0, processes: 0, files: many }
      |                       ^^^^^^^^^^

    all.yml:5:41: limits.cpus is a number of processors such as 2 or 0.5
    5 |     limits: { memory: 2 GB or so, cpus: 0, processes: 0, files: many }
      |                                         ^

    all.yml:5:55: limits.processes is a whole number, and 1 at least
    5 |     limits: { memory: 2 GB or so, cpus: 0, processes: 0, files: many }
      |                                                       ^

    all.yml:5:65: limits.files is a whole number, and 1 at least
    5 |     limits: { memory: 2 GB or so, cpus: 0, processes: 0, files: many }
      |                                                                 ^^^^

    all.yml:6:14: network is true or false
    6 |     network: none
      |              ^^^^

    all.yml:7:14: unknown sandbox 'chroot': it is landlock, bubblewrap or none
    7 |     sandbox: chroot
      |              ^^^^^^
    "#);
}

#[test]
fn a_pattern_of_folders_stays_in_its_repository_and_is_one() {
    let text = r#"
tasks:
  a: { run: ["true"], source: { git: "https://h/x.git", discover: [/tests/*, "a/../*/", "t[", ""] } }
  b: { run: ["true"], source: { git: "https://h/x.git", path: tests, discover: "*/" } }
  c: { run: ["true"], source: { path: /srv/x, discover: "*/" } }
  d: { run: ["true"], source: { git: "https://h/x.git", discover: { a: b } } }
"#;
    insta::assert_snapshot!(faults(&[("all.yml", text)]), @r#"
    all.yml:3:68: '/tests/*' leads out of the repository: discover is a pattern from its top, as in tests/*/tests.yml, or tests/*/ for any folder
    3 |   a: { run: ["true"], source: { git: "https://h/x.git", discover: [/tests/*, "a/../*/", "t[", ""] } }
      |                                                                    ^^^^^^^^

    all.yml:3:78: 'a/../*/' leads out of the repository: discover is a pattern from its top, as in tests/*/tests.yml, or tests/*/ for any folder
    3 |   a: { run: ["true"], source: { git: "https://h/x.git", discover: [/tests/*, "a/../*/", "t[", ""] } }
      |                                                                              ^^^^^^^^^

    all.yml:3:89: 't[' is no pattern: unclosed character class; missing ']'
    3 |   a: { run: ["true"], source: { git: "https://h/x.git", discover: [/tests/*, "a/../*/", "t[", ""] } }
      |                                                                                         ^^^^

    all.yml:3:95: a pattern of discover is empty
    3 |   a: { run: ["true"], source: { git: "https://h/x.git", discover: [/tests/*, "a/../*/", "t[", ""] } }
      |                                                                                               ^^

    all.yml:4:57: discover finds the folders by itself: leave path out, and begin the pattern with it
    4 |   b: { run: ["true"], source: { git: "https://h/x.git", path: tests, discover: "*/" } }
      |                                                         ^^^^

    all.yml:5:47: discover needs 'git': the address of the repository
    5 |   c: { run: ["true"], source: { path: /srv/x, discover: "*/" } }
      |                                               ^^^^^^^^

    all.yml:6:67: a pattern of discover is a text, not a mapping
    6 |   d: { run: ["true"], source: { git: "https://h/x.git", discover: { a: b } } }
      |                                                                   ^
    "#);
}

#[test]
fn what_is_not_built_yet_is_refused_with_what_to_write() {
    let text = r#"
tasks:
  a:
    run: ["true"]
    source: { git: "git@example.org:x.git", ref: main, path: ../y }
    artifacts: ["*"]
    secrets: [key, key, "../x"]
    results: [junit, exitcode]
    limits: { memory: 2GiB, log: lots }
    retry: { on: [exit:0, timeout], attempts: 0 }
rules:
  - name: r
    topics: ['#']
    do: [{ tasks: [a], item: "{{ id }}", item_type: x }]
schedules: [{ name: nightly, cron: "0 3 * * *" }]
pools: { big: ["mem:64"] }
"#;
    insta::assert_snapshot!(faults(&[("all.yml", text)]), @r#"
    all.yml:5:20: git is the address of a repository, such as https://example.org/group/name.git, ssh://git@example.org/name.git or file:///srv/name.git
    5 |     source: { git: "git@example.org:x.git", ref: main, path: ../y }
      |                    ^^^^^^^^^^^^^^^^^^^^^^^

    all.yml:5:62: path is a folder inside the repository, such as tests/smoke: no '..', and no '/' around it
    5 |     source: { git: "git@example.org:x.git", ref: main, path: ../y }
      |                                                              ^^^^

    all.yml:7:20: secret 'key' is asked for twice
    7 |     secrets: [key, key, "../x"]
      |                    ^^^

    all.yml:7:25: '../x' is no secret's name: letters, digits, '_', '-' and '.'; it is a file's name
    7 |     secrets: [key, key, "../x"]
      |                         ^^^^^^

    all.yml:8:22: unknown result format 'exitcode': the formats are results.yml, junit, tap, tmt, exit_code; did you mean 'exit_code'?
    8 |     results: [junit, exitcode]
      |                      ^^^^^^^^

    all.yml:9:34: limits.log is a size such as 500KiB, 50MiB or 1GiB
    9 |     limits: { memory: 2GiB, log: lots }
      |                                  ^^^^

    all.yml:10:19: exit:0 is a success and not tried again
    10 |     retry: { on: [exit:0, timeout], attempts: 0 }
       |                   ^^^^^^

    all.yml:10:27: unknown end 'timeout': the ends are lost, not_started, timed_out, limit:memory, limit:processes, limit:disk, exit:N and signal:N
    10 |     retry: { on: [exit:0, timeout], attempts: 0 }
       |                           ^^^^^^^

    all.yml:10:47: attempts is at least 1: the first attempt counts
    10 |     retry: { on: [exit:0, timeout], attempts: 0 }
       |                                               ^

    all.yml:15:1: schedules are not yet supported: leave them out, and start such jobs by jobrunner
    15 | schedules: [{ name: nightly, cron: "0 3 * * *" }]
       | ^^^^^^^^^

    all.yml:16:1: pools are not yet supported: leave them out, and name labels in a task's needs
    16 | pools: { big: ["mem:64"] }
       | ^^^^^
    "#);
}

#[test]
fn a_policy_says_what_it_lacks() {
    let text = r#"
tasks:
  a: { run: ["true"], concurrency: 0 }
  b: { run: ["true"], concurrency: { key: "{{ itm }}" } }
rules:
  - name: r
    topics: ['#']
    quiet: 30s
    supersede: { key: "{{ id }}", policy: serial }
    do: [{ tasks: [a], item: "{{ id }}", item_type: x }]
  - name: s
    topics: ['#']
    supersede: { policy: keep-latest-queued }
    do: [{ tasks: [b], item: "{{ id }}", item_type: x }]
  - name: t
    topics: ['#']
    supersede: { key: k, policy: keep-latest }
    do: [{ tasks: [b], item: "{{ id }}", item_type: x }]
"#;
    insta::assert_snapshot!(faults(&[("all.yml", text)]), @r#"
    all.yml:3:36: the limit is at least 1; to run none of a task, take it out of the rules
    3 |   a: { run: ["true"], concurrency: 0 }
      |                                    ^

    all.yml:4:36: concurrency needs 'limit'
    4 |   b: { run: ["true"], concurrency: { key: "{{ itm }}" } }
      |                                    ^

    all.yml:4:43: unknown name 'itm': a task sees item, item_type, arch, task, params, job_id; did you mean 'item'?
    4 |   b: { run: ["true"], concurrency: { key: "{{ itm }}" } }
      |                                           ^^^^^^^^^^^

    all.yml:8:5: quiet waits whether a newer job comes for the same key: it needs supersede with a key and the policy keep-latest-queued or cancel-previous
    8 |     quiet: 30s
      |     ^^^^^

    all.yml:13:16: the policy keep-latest-queued needs a key: what jobs must have in common, such as "{{ name }}"
    13 |     supersede: { policy: keep-latest-queued }
       |                ^

    all.yml:17:34: unknown policy 'keep-latest': the policies are none, keep-latest-queued, cancel-previous, serial
    17 |     supersede: { key: k, policy: keep-latest }
       |                                  ^^^^^^^^^^^
    "#);
}

#[test]
fn a_task_may_use_only_what_it_sees() {
    let text =
        "tasks:\n  a:\n    run: [\"{{ itm }}\", \"{{ params.x | upcase }}\"]\n    needs: { \"a b\": \"{{ arhc }}\" }\n";
    insta::assert_snapshot!(faults(&[("tasks.yml", text)]), @r#"
    tasks.yml:3:11: unknown name 'itm': a task sees item, item_type, arch, task, params, job_id; did you mean 'item'?
    3 |     run: ["{{ itm }}", "{{ params.x | upcase }}"]
      |           ^^^^^^^^^^^

    tasks.yml:3:24: not a template: unknown filter 'upcase'
    3 |     run: ["{{ itm }}", "{{ params.x | upcase }}"]
      |                        ^^^^^^^^^^^^^^^^^^^^^^^^^

    tasks.yml:4:14: 'a b' is no label's name: no blank, colon or comma
    4 |     needs: { "a b": "{{ arhc }}" }
      |              ^^^^^

    tasks.yml:4:21: unknown name 'arhc': a task sees item, item_type, arch, task, params, job_id; did you mean 'arch'?
    4 |     needs: { "a b": "{{ arhc }}" }
      |                     ^^^^^^^^^^^^
    "#);
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    insta::assert_snapshot!(faults(&[("a.yml", "rules:\n  - name: x\n   kind: y\n"), ("b.yml", "rules: []\nrules: []\n")]), @r"
    a.yml:3:4: not YAML: while parsing a block collection, did not find expected '-' indicator
    3 |    kind: y
      |    ^

    b.yml:2:1: the key 'rules' stands here twice
    2 | rules: []
      | ^
    ");
    insta::assert_snapshot!(faults(&[("a.yml", "- 1\n"), ("b.yml", "a: 'x\n")]), @r"
    a.yml:1:1: a configuration is a mapping, not a list
    1 | - 1
      | ^

    b.yml:2:1: not YAML: invalid indentation in multiline quoted scalar
    ");
    insta::assert_snapshot!(faults(&[("a.yml", "rules: []\n---\nrules: []\n")]), @r"
    a.yml:3:1: a second YAML document: write one a file, without '---' between
    3 | rules: []
      | ^
    ");
}

#[test]
fn names_may_stand_in_any_file_of_the_folder() {
    let rule = "rules: [{ name: r, kind: Mine, do: [{ tasks: [t] }] }]\n";
    let kind = "kinds: [{ name: Mine, topics: [a], fields: { item: x, item_type: 1 } }]\n";
    let task = "# comments\n---\ntasks: { t: { run: [\"true\"] } }\n";
    assert_eq!(faults(&[("a.yml", rule), ("sub/b.yml", kind), ("z.yml", task), ("empty.yml", "")]), "no fault");
}

#[test]
fn the_same_name_twice_is_a_fault_also_over_files() {
    let rule = "rules: [{ name: r, topics: [a], do: [{ tasks: [t], item: x, item_type: y }] }]\n";
    let task = "tasks: { t: { run: [\"true\"] } }\n";
    insta::assert_snapshot!(faults(&[("a.yml", rule), ("b.yml", rule), ("c.yml", task), ("d.yml", task)]), @r#"
    b.yml:1:9: there is another rule 'r' at a.yml:1
    1 | rules: [{ name: r, topics: [a], do: [{ tasks: [t], item: x, item_type: y }] }]
      |         ^

    d.yml:1:10: there is another task 't' at c.yml:1
    1 | tasks: { t: { run: ["true"] } }
      |          ^
    "#);
}

#[test]
fn a_rule_without_an_item_is_a_fault() {
    let text = "tasks: { t: { run: [\"true\"] } }\nrules: [{ name: r, topics: [a], do: [{ tasks: [t] }] }]\n";
    insta::assert_snapshot!(faults(&[("a.yml", text)]), @r"
    a.yml:2:38: rule r needs 'item' here: no kind names one
    2 | rules: [{ name: r, topics: [a], do: [{ tasks: [t] }] }]
      |                                      ^

    a.yml:2:38: rule r needs 'item_type' here: no kind names one
    2 | rules: [{ name: r, topics: [a], do: [{ tasks: [t] }] }]
      |                                      ^
    ");
}
