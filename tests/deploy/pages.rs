//! Pages and examples refer to existing things.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::path;
use crate::render::{NAMESPACE, kustomize, objects};

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Anchors of the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| line.trim_start_matches('#').trim().to_lowercase();
    headings
        .map(|line| anchor(line).replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_has_a_target() {
    let link = Regex::new(r"\]\(([^)#]*)(?:#([^)]+))?\)").unwrap();
    let entries = |directory| path(directory).read_dir().unwrap();
    let docs = entries("deploy/docs")
        .chain(entries("deploy/docs/runbooks"))
        .chain(entries("deploy/docs/adr"));
    let mut pages: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    pages.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md", "RELEASE.md"].map(path));
    let mut links = 0;
    for page in pages {
        for found in link.captures_iter(&read(&page)) {
            if found[1].starts_with("http") {
                continue;
            }
            links += 1;
            let target = match &found[1] {
                "" => page.clone(),
                below => page.parent().unwrap().join(below),
            };
            assert!(target.exists(), "{}: {}", page.display(), &found[0]);
            if let Some(anchor) = found.get(2) {
                let known = anchors(&read(&target));
                let there = known.iter().any(|known| known == anchor.as_str());
                assert!(there, "{}: {}", page.display(), &found[0]);
            }
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn status_page_and_chart_have_the_same_icon() {
    let icons = [
        "src/server/status_page/favicon.svg",
        "deploy/chart/icon.svg",
    ];
    let [page, chart] = icons.map(|icon| read(&path(icon)));
    assert_eq!(page, chart);
}

#[test]
fn picture_of_the_status_page_is_small() {
    let picture = std::fs::metadata(path("deploy/docs/status-page.png")).unwrap();
    assert!(picture.len() < 150_000, "{}", picture.len());
}

#[test]
fn pages_name_existing_paths_in_deploy() {
    let named = Regex::new(r"\bdeploy/[a-zA-Z/._-]*[a-zA-Z]").unwrap();
    for page in ["install", "configure", "safety", "by-hand", "many-clusters"] {
        let page = path(&format!("deploy/docs/{page}.md"));
        for found in named.find_iter(&read(&page)) {
            assert!(
                path(found.as_str()).exists(),
                "{}: {}",
                page.display(),
                found.as_str()
            );
        }
    }
}

/// A path with a part in capitals, such as `src/gates/NAME.rs`, is one that a contributor adds.
#[test]
fn contributor_pages_name_existing_paths() {
    let named =
        Regex::new(r"`((?:src|tests|deploy|alerts|\.ci)/[a-zA-Z0-9/._-]*[a-zA-Z])").unwrap();
    let placeholder = Regex::new(r"\b[A-Z]{3,}\.rs$").unwrap();
    let mut count = 0;
    for page in ["CONTRIBUTING.md", "RELEASE.md", "deploy/docs/extend.md"] {
        for found in named.captures_iter(&read(&path(page))) {
            count += 1;
            let there = placeholder.is_match(&found[1]) || path(&found[1]).exists();
            assert!(there, "{page}: {}", &found[1]);
        }
    }
    assert!(count > 30, "{count}");
}

/// The kustomization in the page, based on this repository instead of one in Git.
fn owners_kustomization(directory: &Path) -> String {
    let page = read(&path("deploy/docs/install.md"));
    let begins = "    resources: [https://git.example.com/you/volsync-locksmith//";
    let mut blocks = page.split("\n\n");
    let block = blocks.find(|block| block.starts_with(begins)).unwrap();
    let lines = block.lines().map(|line| &line[4..]);
    // Kustomize accepts no absolute path.
    let up = "../".repeat(directory.components().count() - 1);
    let here = format!("{up}{}/", path("").display().to_string().trim_matches('/'));
    let text = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("?ref=main", "");
    text.replace("https://git.example.com/you/volsync-locksmith//", &here)
}

#[test]
#[ignore = "needs kubectl: ./tests/run"]
fn documented_overlay_has_the_documented_effect() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    let text = owners_kustomization(&place);
    std::fs::write(place.join("kustomization.yaml"), text).unwrap();
    std::fs::write(place.join("locksmith.yaml"), "mode: act\n").unwrap();
    let objects = objects(&kustomize(place.to_str().unwrap()));
    let provisioners = ["locksmith-logs", "locksmith-restart"];
    let mut moved = 0;
    for object in &objects {
        let metadata = &object["metadata"];
        // A policy has no namespace.
        if provisioners.iter().any(|name| metadata["name"] == *name)
            && metadata["namespace"].is_string()
        {
            assert_eq!(metadata["namespace"], "csi");
            moved += 1;
        }
        if object["apiVersion"] == "monitoring.coreos.com/v1" {
            assert_eq!(metadata["labels"]["release"], "prometheus");
        }
    }
    assert_eq!(moved, 4, "both Roles, and what binds them");
    let deployment = objects.iter().find(|it| it["kind"] == "Deployment");
    let pod = &deployment.unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "REPOSITORY:TAG");
}

#[test]
fn uninstall_job_uses_the_image_of_the_daemon() {
    let page = read(&path("deploy/docs/install.md"));
    let told = Regex::new(r#"sed "s\|(.+?)\|image: \$image\|""#).unwrap();
    let replaced = told.captures(&page).expect("a command of sed's")[1].to_owned();
    let job = read(&path("deploy/uninstall/job.yaml"));
    let replaced = Regex::new(&replaced).unwrap();
    assert_eq!(replaced.find_iter(&job).count(), 1);
    assert!(!replaced.replace(&job, "").contains("image:"));
}

/// Under a policy that denies all egress by default, the Job would not reach the API server.
#[test]
fn network_policy_selects_the_uninstall_job() {
    let objects = objects(&read(&path("deploy/uninstall/job.yaml")));
    let of = |kind: &str| objects.iter().find(|it| it["kind"] == kind).unwrap();
    let policy = &of("NetworkPolicy")["spec"];
    let labels = &of("Job")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(policy["podSelector"]["matchLabels"], *labels);
    let ports = policy["egress"][0]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|allowed| allowed["port"] == 443));
}

/// The objects of an example, each with its kind.
fn example(name: &str) -> Vec<Value> {
    objects(&read(&path(&format!("deploy/examples/{name}.yaml"))))
}

#[test]
fn examples_refer_to_installed_objects() {
    let [config] = &example("alertmanagerconfig")[..] else {
        panic!("one AlertmanagerConfig")
    };
    let receiver = &config["spec"]["receivers"][0];
    assert_eq!(receiver["name"], config["spec"]["route"]["receiver"]);
    let service = format!("http://locksmith.{NAMESPACE}.svc:9797/webhook");
    assert_eq!(receiver["webhookConfigs"][0]["url"], service);

    let flux = example("flux");
    let namespace = flux.iter().find(|it| it["kind"] == "Namespace").unwrap();
    let annotations = &namespace["metadata"]["annotations"];
    // The hook that releases runs in it when everything else is pruned.
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    let release = flux.iter().find(|it| it["kind"] == "HelmRelease").unwrap();
    let argocd = &example("argocd")[0];
    let charts = [
        (
            &release["spec"]["chart"]["spec"]["chart"],
            &release["spec"]["values"],
        ),
        (
            &argocd["spec"]["source"]["path"],
            &argocd["spec"]["source"]["helm"]["valuesObject"],
        ),
    ];
    for (chart, values) in charts {
        let chart = path(chart.as_str().unwrap());
        let known: Value = serde_saphyr::from_str(&read(&chart.join("values.yaml"))).unwrap();
        for value in values.as_object().unwrap().keys() {
            assert!(known.get(value).is_some(), "{value}");
        }
    }
}
