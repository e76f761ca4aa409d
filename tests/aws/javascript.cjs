// `node javascript.cjs STEP < WORLD.json`: one step of the walk of AWS's SDK for
// JavaScript. Every command that is sent is written down with what came of it.

"use strict";

const assert = require("node:assert/strict");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const world = JSON.parse(fs.readFileSync(0, "utf8"));
const modules = createRequire(path.join(world.modules, "package.json"));
const ecr = modules("@aws-sdk/client-ecr");
const ecrPublic = modules("@aws-sdk/client-ecr-public");
const iam = modules("@aws-sdk/client-iam");
const sts = modules("@aws-sdk/client-sts");

const SERVICES = new Map([
  [ecr, ["ecr", "ECRClient"]],
  [ecrPublic, ["ecr-public", "ECRPUBLICClient"]],
  [iam, ["iam", "IAMClient"]],
  [sts, ["sts", "STSClient"]],
]);
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

function record(service, command, error) {
  const operation = command.constructor.name.replace(/Command$/, "");
  const entry = [service, operation, "sdk-javascript", error?.name ?? null, error?.message ?? null];
  fs.appendFileSync(world.record, `${JSON.stringify(entry)}\n`);
}

/** A client of one node, with an account's keys or those of a session. */
function client(sdk, { nth = 0, account = world.account, session } = {}) {
  const [service, name] = SERVICES.get(sdk);
  const made = new sdk[name]({
    region: world.region,
    endpoint: world.endpoints[nth],
    maxAttempts: 2,
    credentials: session
      ? {
          accessKeyId: session.AccessKeyId,
          secretAccessKey: session.SecretAccessKey,
          sessionToken: session.SessionToken,
        }
      : { accessKeyId: account.key_id, secretAccessKey: account.secret },
  });
  return async (command) => {
    try {
      const answer = await made.send(command);
      record(service, command);
      return answer;
    } catch (error) {
      record(service, command, error);
      throw error;
    }
  };
}

/** That `call` is refused with the SDK's own class of that error. */
async function fails(sdk, name, call) {
  const answer = await call.then(
    (answer) => ({ answer }),
    (error) => ({ error }),
  );
  assert.ok(answer.error, `should fail with ${name}: ${JSON.stringify(answer.answer)}`);
  assert.equal(answer.error.name, name, answer.error.message);
  if (sdk[name]) assert.ok(answer.error instanceof sdk[name], `an unknown ${name}`);
  return answer.error;
}

function digestOf(content) {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

async function pushLayer(send, repositoryName, content) {
  const { uploadId } = await send(new ecr.InitiateLayerUploadCommand({ repositoryName }));
  const part = { repositoryName, uploadId, partFirstByte: 0, partLastByte: content.length - 1 };
  const sent = await send(new ecr.UploadLayerPartCommand({ ...part, layerPartBlob: content }));
  assert.equal(sent.lastByteReceived, content.length - 1);
  const digest = digestOf(content);
  const whole = { repositoryName, uploadId, layerDigests: [digest] };
  const done = await send(new ecr.CompleteLayerUploadCommand(whole));
  assert.equal(done.layerDigest, digest);
  return digest;
}

/** Pushes an image of one layer; its manifest and that's digest. */
async function pushImage(send, repositoryName, imageTag, layer) {
  const config = Buffer.from("{}");
  const described = (content, mediaType) => ({
    mediaType,
    digest: digestOf(content),
    size: content.length,
  });
  await pushLayer(send, repositoryName, config);
  await pushLayer(send, repositoryName, layer);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: described(config, "application/vnd.oci.image.config.v1+json"),
    layers: [described(layer, "application/vnd.oci.image.layer.v1.tar")],
  });
  const put = { repositoryName, imageManifest: manifest, imageTag };
  const { image } = await send(new ecr.PutImageCommand(put));
  assert.equal(image.imageId.imageDigest, digestOf(manifest));
  return { manifest, digest: image.imageId.imageDigest };
}

async function repositories() {
  const [send, other] = [client(ecr), client(ecr, { nth: 1 })];
  const repositoryName = "js/repositories";
  const { repository } = await send(
    new ecr.CreateRepositoryCommand({
      repositoryName,
      tags: [{ Key: "team", Value: "walk" }],
      imageTagMutability: "IMMUTABLE",
      imageScanningConfiguration: { scanOnPush: false },
    }),
  );
  assert.ok(repository.createdAt instanceof Date && repository.createdAt.getFullYear() > 2000);
  const found = await other(new ecr.DescribeRepositoriesCommand({ repositoryNames: [repositoryName] }));
  assert.deepEqual(
    found.repositories.map((it) => [it.repositoryArn, it.imageTagMutability]),
    [[repository.repositoryArn, "IMMUTABLE"]],
  );
  const arn = { resourceArn: repository.repositoryArn };
  await other(new ecr.TagResourceCommand({ ...arn, tags: [{ Key: "env", Value: "test" }] }));
  await send(new ecr.UntagResourceCommand({ ...arn, tagKeys: ["team"] }));
  const { tags } = await send(new ecr.ListTagsForResourceCommand(arn));
  assert.deepEqual(tags, [{ Key: "env", Value: "test" }]);
  const mutable = { repositoryName, imageTagMutability: "MUTABLE" };
  const put = await send(new ecr.PutImageTagMutabilityCommand(mutable));
  assert.equal(put.imageTagMutability, "MUTABLE");
  const policyText = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Sid: "pull", Effect: "Allow", Principal: "*", Action: "ecr:BatchGetImage" }],
  });
  await send(new ecr.SetRepositoryPolicyCommand({ repositoryName, policyText }));
  const policy = await other(new ecr.GetRepositoryPolicyCommand({ repositoryName }));
  assert.deepEqual(JSON.parse(policy.policyText), JSON.parse(policyText));
  await send(new ecr.DeleteRepositoryPolicyCommand({ repositoryName }));
  const lifecyclePolicyText = JSON.stringify({
    rules: [
      {
        rulePriority: 1,
        selection: { tagStatus: "untagged", countType: "imageCountMoreThan", countNumber: 5 },
        action: { type: "expire" },
      },
    ],
  });
  await send(new ecr.PutLifecyclePolicyCommand({ repositoryName, lifecyclePolicyText }));
  const kept = await other(new ecr.GetLifecyclePolicyCommand({ repositoryName }));
  assert.deepEqual(JSON.parse(kept.lifecyclePolicyText), JSON.parse(lifecyclePolicyText));
  await send(new ecr.DeleteLifecyclePolicyCommand({ repositoryName }));
  for (const name of ["js/many-1", "js/many-2", "js/many-3"]) {
    await send(new ecr.CreateRepositoryCommand({ repositoryName: name }));
  }
  const names = [];
  let nextToken;
  do {
    const page = await send(new ecr.DescribeRepositoriesCommand({ maxResults: 2, nextToken }));
    assert.ok(page.repositories.length <= 2);
    names.push(...page.repositories.map((it) => it.repositoryName));
    nextToken = page.nextToken;
  } while (nextToken);
  const wanted = ["js/many-1", "js/many-2", "js/many-3", "js/repositories"];
  assert.deepEqual(names.filter((it) => it.startsWith("js/")).sort(), wanted);
  for (const name of wanted) {
    await send(new ecr.DeleteRepositoryCommand({ repositoryName: name, force: true }));
  }
  const gone = send(new ecr.DescribeRepositoriesCommand({ repositoryNames: [repositoryName] }));
  await fails(ecr, "RepositoryNotFoundException", gone);
}

async function images() {
  const [send, other] = [client(ecr), client(ecr, { nth: 1 })];
  const repositoryName = "js/images";
  await send(new ecr.CreateRepositoryCommand({ repositoryName }));
  const layer = Buffer.from("a layer of JavaScript's");
  const { manifest, digest } = await pushImage(send, repositoryName, "v1", layer);
  const check = { repositoryName, layerDigests: [digestOf(layer), digestOf(Buffer.from("no"))] };
  const checked = await other(new ecr.BatchCheckLayerAvailabilityCommand(check));
  const [there, absent] = check.layerDigests;
  assert.deepEqual(
    new Map(checked.layers.map((it) => [it.layerDigest, it.layerAvailability])),
    new Map([[there, "AVAILABLE"], [absent, "UNAVAILABLE"]]),
  );
  const ask = { repositoryName, layerDigest: digestOf(layer) };
  const { downloadUrl } = await other(new ecr.GetDownloadUrlForLayerCommand(ask));
  const downloaded = await fetch(downloadUrl);
  assert.equal(Buffer.from(await downloaded.arrayBuffer()).compare(layer), 0);
  const got = await other(
    new ecr.BatchGetImageCommand({ repositoryName, imageIds: [{ imageTag: "v1" }, { imageTag: "v2" }] }),
  );
  assert.deepEqual(got.images.map((it) => it.imageManifest), [manifest]);
  assert.deepEqual(got.failures.map((it) => it.failureCode), ["ImageNotFound"]);
  const described = await other(new ecr.DescribeImagesCommand({ repositoryName }));
  const [detail] = described.imageDetails;
  assert.deepEqual([detail.imageDigest, detail.imageTags], [digest, ["v1"]]);
  assert.ok(detail.imagePushedAt instanceof Date);
  const filter = { repositoryName, filter: { tagStatus: "TAGGED" } };
  const { imageIds } = await other(new ecr.ListImagesCommand(filter));
  assert.deepEqual(imageIds, [{ imageDigest: digest, imageTag: "v1" }]);
  const immutable = { repositoryName, imageTagMutability: "IMMUTABLE" };
  await send(new ecr.PutImageTagMutabilityCommand(immutable));
  const moved = pushImage(send, repositoryName, "v1", Buffer.from("another"));
  await fails(ecr, "ImageTagAlreadyExistsException", moved);
  const deleted = await send(
    new ecr.BatchDeleteImageCommand({ repositoryName, imageIds: [{ imageTag: "v1" }] }),
  );
  assert.deepEqual(deleted.failures, []);
  await send(new ecr.DeleteRepositoryCommand({ repositoryName, force: true }));
}

async function registry() {
  const [send, other] = [client(ecr), client(ecr, { nth: 1 })];
  const replicationConfiguration = {
    rules: [
      {
        destinations: [{ region: "eu-west-1", registryId: world.account.id }],
        repositoryFilters: [{ filter: "js-copied/", filterType: "PREFIX_MATCH" }],
      },
    ],
  };
  await send(new ecr.PutReplicationConfigurationCommand({ replicationConfiguration }));
  const found = await other(new ecr.DescribeRegistryCommand({}));
  assert.deepEqual(found.replicationConfiguration, replicationConfiguration);
  const none = { replicationConfiguration: { rules: [] } };
  await send(new ecr.PutReplicationConfigurationCommand(none));
  const policyText = JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "replicas",
        Effect: "Allow",
        Principal: { AWS: `arn:aws:iam::${world.stranger.id}:root` },
        Action: "ecr:ReplicateImage",
        Resource: `arn:aws:ecr:${world.region}:${world.account.id}:repository/*`,
      },
    ],
  });
  await send(new ecr.PutRegistryPolicyCommand({ policyText }));
  const policy = await other(new ecr.GetRegistryPolicyCommand({}));
  assert.deepEqual(JSON.parse(policy.policyText), JSON.parse(policyText));
  await send(new ecr.DeleteRegistryPolicyCommand({}));
  await fails(ecr, "RegistryPolicyNotFoundException", other(new ecr.GetRegistryPolicyCommand({})));
  const template = { prefix: "js", appliedFor: ["REPLICATION"], imageTagMutability: "IMMUTABLE" };
  await send(new ecr.CreateRepositoryCreationTemplateCommand(template));
  const asked = new ecr.DescribeRepositoryCreationTemplatesCommand({ prefixes: ["js"] });
  const { repositoryCreationTemplates } = await other(asked);
  assert.equal(repositoryCreationTemplates[0].imageTagMutability, "IMMUTABLE");
  await send(new ecr.DeleteRepositoryCreationTemplateCommand({ prefix: "js" }));
  const setting = { name: "BASIC_SCAN_TYPE_VERSION", value: "AWS_NATIVE" };
  await send(new ecr.PutAccountSettingCommand(setting));
  const kept = await other(new ecr.GetAccountSettingCommand({ name: setting.name }));
  assert.equal(kept.value, setting.value);
  const { authorizationData } = await send(new ecr.GetAuthorizationTokenCommand({}));
  const [token] = authorizationData;
  assert.ok(token.expiresAt > new Date(Date.now() + 11 * 3600 * 1000));
  const { status } = await fetch(`${world.endpoints[1]}/v2/`, {
    headers: { authorization: `Basic ${token.authorizationToken}` },
  });
  assert.equal(status, 200);
}

async function failures() {
  const send = client(ecr);
  const repositoryName = "js/failures";
  const absent = send(new ecr.DescribeImagesCommand({ repositoryName }));
  const error = await fails(ecr, "RepositoryNotFoundException", absent);
  assert.equal(error.$metadata.httpStatusCode, 400);
  assert.ok(error.message.includes(repositoryName), error.message);
  await send(new ecr.CreateRepositoryCommand({ repositoryName }));
  const again = send(new ecr.CreateRepositoryCommand({ repositoryName }));
  await fails(ecr, "RepositoryAlreadyExistsException", again);
  const named = send(new ecr.CreateRepositoryCommand({ repositoryName: "No/Such/NAME" }));
  await fails(ecr, "InvalidParameterException", named);
  const layer = { repositoryName, layerDigest: digestOf(Buffer.from("nowhere")) };
  await fails(ecr, "LayersNotFoundException", send(new ecr.GetDownloadUrlForLayerCommand(layer)));
  const thief = { ...world.account, secret: world.stranger.secret };
  const forged = client(ecr, { account: thief })(new ecr.DescribeRepositoriesCommand({}));
  await fails(ecr, "InvalidSignatureException", forged);
  const stranger = client(ecr, { account: world.stranger });
  const foreign = { registryId: world.account.id, repositoryName };
  await fails(ecr, "AccessDeniedException", stranger(new ecr.DescribeImagesCommand(foreign)));
  await send(new ecr.DeleteRepositoryCommand({ repositoryName }));
}

async function sessions() {
  const [send, root] = [client(iam), client(sts)];
  const [RoleName, repositoryName] = ["js-role", "js/sessions"];
  const owner = client(ecr);
  await owner(new ecr.CreateRepositoryCommand({ repositoryName }));
  const AssumeRolePolicyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Principal: { AWS: `arn:aws:iam::${world.account.id}:root` },
        Action: "sts:AssumeRole",
      },
    ],
  });
  const { Role } = await send(new iam.CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }));
  assert.ok(Role.CreateDate instanceof Date);
  const PolicyArn = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly";
  await send(new iam.AttachRolePolicyCommand({ RoleName, PolicyArn }));
  const attached = await send(new iam.ListAttachedRolePoliciesCommand({ RoleName }));
  assert.deepEqual(attached.AttachedPolicies.map((it) => it.PolicyArn), [PolicyArn]);
  const who = await root(new sts.GetCallerIdentityCommand({}));
  assert.equal(who.Account, world.account.id);
  // A root user assumes no role: a user does.
  const UserName = "js-user";
  await send(new iam.CreateUserCommand({ UserName }));
  const PolicyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Resource: Role.Arn }],
  });
  const assume = { UserName, PolicyName: "assume", PolicyDocument };
  await send(new iam.PutUserPolicyCommand(assume));
  const { AccessKey } = await send(new iam.CreateAccessKeyCommand({ UserName }));
  const user = { key_id: AccessKey.AccessKeyId, secret: AccessKey.SecretAccessKey };
  const wanted = { RoleArn: Role.Arn, RoleSessionName: "walk", DurationSeconds: 900 };
  const assumed = await client(sts, { account: user })(new sts.AssumeRoleCommand(wanted));
  const session = assumed.Credentials;
  assert.ok(session.Expiration > new Date());
  const reader = client(ecr, { session });
  await reader(new ecr.DescribeImagesCommand({ repositoryName }));
  const denied = reader(new ecr.DeleteRepositoryCommand({ repositoryName }));
  await fails(ecr, "AccessDeniedException", denied);
  await send(new iam.DetachRolePolicyCommand({ RoleName, PolicyArn }));
  await send(new iam.DeleteRoleCommand({ RoleName }));
  await fails(iam, "NoSuchEntityException", send(new iam.GetRoleCommand({ RoleName })));
  const { AccessKeyId } = AccessKey;
  await send(new iam.DeleteAccessKeyCommand({ UserName, AccessKeyId }));
  await send(new iam.DeleteUserPolicyCommand({ UserName, PolicyName: "assume" }));
  await send(new iam.DeleteUserCommand({ UserName }));
  await owner(new ecr.DeleteRepositoryCommand({ repositoryName }));
}

async function publicRegistry() {
  const [send, other] = [client(ecrPublic), client(ecrPublic, { nth: 1 })];
  const repositoryName = "js/public";
  const catalogData = { description: "of JavaScript's", architectures: ["x86-64"] };
  const made = await send(new ecrPublic.CreateRepositoryCommand({ repositoryName, catalogData }));
  assert.equal(made.catalogData.description, catalogData.description);
  const repositoryNames = [repositoryName];
  const found = await other(new ecrPublic.DescribeRepositoriesCommand({ repositoryNames }));
  assert.equal(found.repositories[0].repositoryArn, made.repository.repositoryArn);
  const { authorizationData } = await send(new ecrPublic.GetAuthorizationTokenCommand({}));
  assert.ok(authorizationData.expiresAt > new Date());
  await send(new ecrPublic.DeleteRepositoryCommand({ repositoryName }));
  const gone = other(new ecrPublic.DescribeRepositoriesCommand({ repositoryNames }));
  await fails(ecrPublic, "RepositoryNotFoundException", gone);
}

const STEPS = { repositories, images, registry, failures, sessions, publicRegistry };

const step = process.argv[2];
STEPS[step]().then(
  () => console.log(`${step}: done`),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
