//! The service `Replication`: backfills, and how far copies are.

use entrepot_proto::admin::{
    Backfill, BackfillCount, BackfillImage, CountBackfillRequest, GetBackfillRequest,
    ListBackfillsRequest, RuleDestination, StartBackfillRequest, StopBackfillRequest, SummaryReply,
    SummaryRequest,
};

use super::{Client, PAGE_ITEMS, PAGES_MAX};
use crate::failure::{Effect, Failure};

const NO_BACKFILL: Failure = Failure::Nonsense("an answer about no backfill");

impl Client {
    pub(crate) async fn start_backfill(
        &self,
        to: RuleDestination,
        rule: String,
    ) -> Result<Backfill, Failure> {
        let request = StartBackfillRequest {
            destination: Some(to),
            rule,
        };
        let mut replication = self.replication.clone();
        let reply = self
            .timed(Effect::ChangesBackfills, request, async |request| {
                replication.start_backfill(request).await
            })
            .await?;
        reply.backfill.ok_or(NO_BACKFILL)
    }

    pub(crate) async fn count_backfill(
        &self,
        to: RuleDestination,
        rule: String,
    ) -> Result<BackfillCount, Failure> {
        let request = CountBackfillRequest {
            destination: Some(to),
            rule,
        };
        let mut replication = self.replication.clone();
        let reply = self
            .timed(Effect::Reads, request, async |request| {
                replication.count_backfill(request).await
            })
            .await?;
        reply.count.ok_or(NO_BACKFILL)
    }

    pub(crate) async fn backfills(&self) -> Result<Vec<Backfill>, Failure> {
        let mut replication = self.replication.clone();
        let reply = self
            .timed(Effect::Reads, ListBackfillsRequest {}, async |request| {
                replication.list_backfills(request).await
            })
            .await?;
        Ok(reply.backfills)
    }

    /// With all its images that have ended, or those that failed.
    pub(crate) async fn backfill(
        &self,
        id: &str,
        failed_only: bool,
    ) -> Result<(Backfill, Vec<BackfillImage>), Failure> {
        let mut images = Vec::new();
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let request = GetBackfillRequest {
                id: id.to_owned(),
                failed_only,
                after,
                limit: PAGE_ITEMS,
            };
            let mut replication = self.replication.clone();
            let reply = self
                .timed(Effect::Reads, request, async |request| {
                    replication.get_backfill(request).await
                })
                .await?;
            images.extend(reply.images);
            if reply.next.is_empty() {
                return Ok((reply.backfill.ok_or(NO_BACKFILL)?, images));
            }
            after = reply.next;
        }
        Err(Failure::Nonsense("a list that does not end"))
    }

    pub(crate) async fn stop_backfill(&self, id: &str) -> Result<Backfill, Failure> {
        let request = StopBackfillRequest { id: id.to_owned() };
        let mut replication = self.replication.clone();
        let reply = self
            .timed(Effect::ChangesBackfills, request, async |request| {
                replication.stop_backfill(request).await
            })
            .await?;
        reply.backfill.ok_or(NO_BACKFILL)
    }

    pub(crate) async fn replication_summary(
        &self,
        request: SummaryRequest,
    ) -> Result<SummaryReply, Failure> {
        let mut replication = self.replication.clone();
        self.timed(Effect::Reads, request, async |request| {
            replication.summary(request).await
        })
        .await
    }
}
