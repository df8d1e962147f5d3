//! What jobs left is kept once by content, for as long as somebody needs it.

use master::store::{GiveUp, Granted, Kept, Token};
use model::{ArtifactPiece, JobId, Span};

use crate::bed::{Bed, worker};
use crate::stories;

fn piece(name: &str) -> ArtifactPiece {
    ArtifactPiece { name: name.into(), size: 3, sha256: String::new(), offset: 0 }
}

fn token(granted: &Granted) -> Token {
    granted.token.parse().unwrap()
}

/// The names of a job's artifacts whose bytes are there.
async fn kept(bed: &Bed, job: JobId) -> Vec<String> {
    let all = bed.store.artifacts(job).await.unwrap();
    all.into_iter().filter(|a| a.removed_at.is_none()).map(|a| a.name).collect()
}

stories! {
    async fn bytes_are_kept_once_and_go_with_the_last_who_needs_them(bed: Bed) {
        let (a, b) = (bed.run(1, &worker("w1")).await, bed.run(2, &worker("w2")).await);
        let (one, other) = ([1; 32], [2; 32]);
        let keep = async |granted: &Granted, name: &str, sha256: &[u8; 32], file: Option<&str>| {
            bed.store.keep_artifact(&token(granted), &piece(name), sha256, file).await.unwrap()
        };
        assert_eq!(keep(&a, "x", &one, None).await, Kept::NotThere);
        assert_eq!(bed.store.blob(&one).await.unwrap(), None);
        assert_eq!(keep(&a, "x", &one, Some("01/one")).await, Kept::Yes);
        assert_eq!(keep(&a, "x", &one, None).await, Kept::Yes, "again changes nothing");
        assert_eq!(keep(&b, "y", &one, None).await, Kept::Yes, "what is there need not come again");
        assert_eq!(keep(&b, "z", &other, Some("02/other")).await, Kept::Yes);
        assert_eq!(bed.store.artifact_space().await.unwrap(), 6);
        assert_eq!(bed.store.blobs_from(1).await.unwrap(), ["01/one"]);
        assert_eq!(bed.store.blobs_from(255).await.unwrap(), Vec::<String>::new());
        let wrong = Token { secret: [0; 16], ..token(&a) };
        let refused = bed.store.keep_artifact(&wrong, &piece("w"), &one, None).await.unwrap();
        assert_eq!(refused, Kept::NoRight);

        // The first one's goes, and the bytes stay for the second.
        bed.store.advance(Span::days(20));
        let c = bed.run(3, &worker("w3")).await;
        assert_eq!(keep(&c, "late", &one, None).await, Kept::Yes);
        bed.store.advance(Span::days(15));
        let (count, files) = bed.store.give_up_artifacts(GiveUp::Older(Span::days(30))).await.unwrap();
        assert_eq!((count, files), (3, vec!["02/other".to_owned()]));
        assert_eq!(bed.store.give_up_artifacts(GiveUp::Older(Span::days(30))).await.unwrap().0, 0);
        assert_eq!(kept(&bed, c.job).await, ["late"]);
        assert!(kept(&bed, a.job).await.is_empty() && kept(&bed, b.job).await.is_empty());
        let gone = bed.store.artifact(b.job, None, "z").await.unwrap().unwrap();
        assert!(gone.artifact.removed_at.is_some() && gone.file.is_none(), "that it was there is known");
        let stays = bed.store.artifact(c.job, Some(1), "late").await.unwrap().unwrap();
        assert_eq!(stays.file.as_deref(), Some("01/one"));
        let (count, files) = bed.store.give_up_artifacts(GiveUp::Bytes(1 << 40)).await.unwrap();
        assert_eq!((count, files), (1, vec!["01/one".to_owned()]));
        assert_eq!((bed.store.artifact_space().await.unwrap(), bed.store.blob(&one).await.unwrap()), (0, None));
        bed.sound().await;
    }

    async fn whoever_needs_bytes_and_whoever_lets_them_go_never_pass_each_other(bed: Bed) {
        let granted = bed.run(1, &worker("w1")).await;
        let (token, sha256) = (token(&granted), [7; 32]);
        for n in 0..30 {
            let file = format!("07/{n}");
            bed.store.keep_artifact(&token, &piece("first"), &sha256, Some(&file)).await.unwrap();
            let second = piece("second");
            let (needs, gone) = tokio::join!(
                bed.store.keep_artifact(&token, &second, &sha256, None),
                bed.store.give_up_artifacts(GiveUp::Bytes(1 << 40))
            );
            let (needs, (_, files)) = (needs.unwrap(), gone.unwrap());
            let there = bed.store.artifact(granted.job, None, "second").await.unwrap();
            let needed = there.is_some_and(|stored| stored.artifact.removed_at.is_none());
            // Whoever was told that it is kept has its bytes, unless it was given up as well.
            assert_eq!(needed, needs == Kept::Yes && files.is_empty(), "round {n}: {needs:?} {files:?}");
            bed.sound().await;
            while bed.store.give_up_artifacts(GiveUp::Bytes(1 << 40)).await.unwrap().0 > 0 {}
        }
    }
}
