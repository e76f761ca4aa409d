//! The fake node's service `History`: one image of two tags that was deleted.

use entrepot_proto::admin::history_server::History;
use entrepot_proto::admin::{
    DeletedImage, GetTagHistoryReply, GetTagHistoryRequest, ListDeletedImagesReply,
    ListDeletedImagesRequest, PurgeImageReply, PurgeImageRequest, RestoreImageReply,
    RestoreImageRequest, RestoreTagReply, RestoreTagRequest, TagMove,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service, hours_ago_ms};

fn digest(sign: &str) -> String {
    format!("sha256:{}", sign.repeat(64))
}

#[tonic::async_trait]
impl History for Service {
    async fn list_deleted_images(
        &self,
        request: Request<ListDeletedImagesRequest>,
    ) -> Answer<ListDeletedImagesReply> {
        let request = self.enter(request).await?;
        if request.repository != "team/app" {
            return Ok(Response::new(ListDeletedImagesReply::default()));
        }
        let image = |sign, hours, reason: &str, by: &str| DeletedImage {
            digest: digest(sign),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            size: 7 * 1024 * 1024,
            pushed_at_ms: hours_ago_ms(100),
            deleted_at_ms: hours_ago_ms(hours),
            restorable_until_ms: hours_ago_ms(hours - 7 * 24) + 60_000,
            reason: reason.to_owned(),
            deleted_by: by.to_owned(),
            ..DeletedImage::default()
        };
        let ci = "arn:aws:iam::123456789012:user/ci";
        let tagged = DeletedImage {
            tags: vec!["1.4".to_owned(), "latest".to_owned()],
            ..image("b", 3, "client", ci)
        };
        Ok(Response::new(ListDeletedImagesReply {
            images: vec![image("a", 50, "lifecycle", ""), tagged],
            next: String::new(),
        }))
    }

    async fn restore_image(
        &self,
        request: Request<RestoreImageRequest>,
    ) -> Answer<RestoreImageReply> {
        let request = self.enter(request).await?;
        if request.reference == "gone" {
            let text = "no deleted image of team/app had the tag gone";
            return Err(Status::not_found(text));
        }
        let tags = |tag: &str| {
            let tags = (!request.without_tags).then(|| tag.to_owned());
            tags.into_iter().collect()
        };
        Ok(Response::new(RestoreImageReply {
            digest: digest("b"),
            manifests: 3,
            tags: tags("1.4"),
            tags_kept: tags("latest"),
        }))
    }

    async fn get_tag_history(
        &self,
        request: Request<GetTagHistoryRequest>,
    ) -> Answer<GetTagHistoryReply> {
        let request = self.enter(request).await?;
        if request.tag != "latest" {
            return Ok(Response::new(GetTagHistoryReply::default()));
        }
        let one = |log_index, at_ms, from: &str, to: &str, reason: &str, by: &str| TagMove {
            at_ms,
            from: from.to_owned(),
            to: to.to_owned(),
            reason: reason.to_owned(),
            by: by.to_owned(),
            log_index,
        };
        let ci = "arn:aws:iam::123456789012:user/ci";
        // A page of two, and one of one.
        let (moves, next) = match request.after.as_str() {
            "" => (
                vec![
                    one(90, 1_767_232_800_000, &digest("b"), "", "lifecycle", ""),
                    one(
                        80,
                        1_767_229_200_250,
                        &digest("a"),
                        &digest("b"),
                        "push",
                        ci,
                    ),
                ],
                "2",
            ),
            _ => (
                vec![one(70, 1_767_225_600_000, "", &digest("a"), "push", ci)],
                "",
            ),
        };
        Ok(Response::new(GetTagHistoryReply {
            moves,
            next: next.to_owned(),
        }))
    }

    async fn restore_tag(&self, request: Request<RestoreTagRequest>) -> Answer<RestoreTagReply> {
        let request = self.enter(request).await?;
        if request.at_ms < 1_767_225_600_000 {
            let text = "nothing is known of team/app:latest at that time";
            return Err(Status::not_found(text));
        }
        Ok(Response::new(RestoreTagReply {
            digest: digest("a"),
            previous: digest("b"),
            image_restored: true,
        }))
    }

    async fn purge_image(&self, request: Request<PurgeImageRequest>) -> Answer<PurgeImageReply> {
        self.enter(request).await?;
        Ok(Response::new(PurgeImageReply {}))
    }
}
