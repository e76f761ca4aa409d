//! What a registry holds is counted by image, and each blob once.

use entrepot_service::ClassAmounts;

use crate::cluster::{EAST, Plan, app, root};
use crate::content::content;

#[tokio::test]
async fn a_blob_counts_once_however_many_images_name_it() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let (node, who) = (cluster.node(1), root());
    assert_eq!(
        node.registry.usage(&who).await.unwrap().total,
        ClassAmounts::default()
    );
    let (shared, own) = (content(1, 10_000), content(2, 500));
    node.push_image("v1", std::slice::from_ref(&shared)).await;
    let one = node.registry.usage(&who).await.unwrap();
    assert_eq!(one.total.standard.images, 1);
    assert_eq!(
        one.total.standard.logical_bytes,
        one.total.standard.unique_bytes
    );
    node.push_image("v2", &[shared, own]).await;
    let two = node.registry.usage(&who).await.unwrap();
    assert_eq!(two.total.standard.images, 2);
    assert!(two.total.standard.logical_bytes >= one.total.standard.logical_bytes + 10_500);
    let added = two.total.standard.unique_bytes - one.total.standard.unique_bytes;
    assert!((500..10_000).contains(&added), "{two:?}");
    assert_eq!(two.repositories, [(app(), two.total)]);
    assert_eq!(two.repositories_left_out, 0);
}
