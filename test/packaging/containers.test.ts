// The files for containers, which no test here can start: they are well-formed, keep the agent from the key, and name flags that exist.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Options, parseOptions } from "../../src/input/options.ts";

const read = (name: string): string => readFileSync(`contrib/container/${name}`, "utf8");
const containerfile = read("Containerfile");
const UID = Number(/^USER (\d+)$/m.exec(containerfile)![1]);

/** The options of a proxy's command, and what its health check asks. */
function checkProxy(args: string[], probe: string[]): Options {
  const options = parseOptions(args) as Options;
  expect(probe).toEqual(["responses-api-proxy", "status", options.serverInfo!]);
  // The directory that the image gives to the proxy's user.
  expect(containerfile).toContain(`--mode=0755 ${options.serverInfo!.replace(/\/[^/]+$/, "")}\n`);
  return options;
}

test("the image: a user of its own, who can execute the program and not read it, and no capability", () => {
  expect(UID).toBeGreaterThan(0);
  expect(containerfile).toContain("COPY --chown=0:0 --chmod=0711 ");
  expect(containerfile).not.toMatch(/^RUN.*setcap/m);
  // The user's group has the same number: `USER` names none, and Compose cannot give a secret to `UID:GID`.
  expect(containerfile).toContain(`useradd --uid ${UID} --user-group `);
});

describe("compose.yaml", () => {
  type Service = {
    command: string[];
    network_mode?: string;
    secrets?: string[];
    volumes?: string[];
    healthcheck?: { test: string[] };
    environment?: Record<string, string>;
  };
  const { services, secrets, volumes } = Bun.YAML.parse(read("compose.yaml")) as {
    services: Record<"proxy" | "connect" | "agent", Service>;
    secrets: object;
    volumes: object;
  };
  const { proxy, connect, agent } = services;

  test("only the proxy has the secret, and it reads it there", () => {
    const options = checkProxy(proxy.command, proxy.healthcheck!.test.slice(1));
    expect(proxy.secrets).toEqual(Object.keys(secrets));
    expect(options.keyFile).toBe(`/run/secrets/${proxy.secrets![0]!}`);
    expect([connect.secrets, agent.secrets]).toEqual([undefined, undefined]);
    expect(options.socket).toBe(/--socket=(\S+)/.exec(connect.command.join(" "))![1]!);
    expect(options.port).toBeUndefined();
  });

  test("the agent's only way out is what `connect` listens on", () => {
    expect(connect.network_mode).toBe("none");
    expect(agent.network_mode).toBe("service:connect");
    expect(agent.volumes).toBeUndefined();
    const [name] = Object.keys(volumes);
    expect(proxy.volumes).toEqual([`${name}:/run/responses-api-proxy`]);
    expect(connect.volumes).toEqual([`${name}:/run/responses-api-proxy:ro`]);
    const port = /--port=(\d+)/.exec(connect.command.join(" "))![1];
    expect(agent.environment!["OPENAI_BASE_URL"]).toBe(`http://127.0.0.1:${port}/v1`);
  });

  test("the key file's owner, in the first lines, is the image's user", () => {
    expect(read("compose.yaml")).toContain(`install -o ${UID} -g ${UID} -m 0400 /dev/stdin openai.key`);
  });
});

describe("kubernetes.yaml", () => {
  type Container = {
    args?: string[];
    env?: { name: string; value: string }[];
    volumeMounts?: { name: string; mountPath: string }[];
    securityContext: { runAsUser: number; allowPrivilegeEscalation: boolean };
    [probe: `${string}Probe`]: { exec: { command: string[] } };
  };
  const text = read("kubernetes.yaml");
  const { spec } = Bun.YAML.parse(text) as {
    spec: {
      shareProcessNamespace: boolean;
      securityContext: { fsGroup: number };
      initContainers: Container[];
      containers: Container[];
    };
  };
  const [proxy, agent] = [spec.initContainers[0]!, spec.containers[0]!];

  test("only the proxy has the secret, which its group may read and nobody else", () => {
    const options = checkProxy(proxy.args!, proxy.startupProbe!.exec.command);
    expect(proxy.livenessProbe).toMatchObject({ exec: proxy.startupProbe!.exec });
    expect(options.keyFile).toStartWith(`${proxy.volumeMounts![0]!.mountPath}/`);
    expect(agent.volumeMounts).toBeUndefined();
    expect(spec.securityContext.fsGroup).toBe(UID);
    // Octal for Kubernetes (YAML 1.1).
    expect(text).toMatch(/^ {8}defaultMode: 0440$/m);
  });

  test("the agent is another user, without the proxy's processes, and has its port", () => {
    expect(spec.shareProcessNamespace).toBe(false);
    expect(proxy.securityContext).toMatchObject({ runAsUser: UID, allowPrivilegeEscalation: false });
    expect(agent.securityContext.allowPrivilegeEscalation).toBe(false);
    expect(agent.securityContext.runAsUser).not.toBe(UID);
    const { port } = parseOptions(proxy.args!) as Options;
    expect(agent.env![0]!.value).toBe(`http://127.0.0.1:${port}/v1`);
  });
});

test("docs/containers.md: every file that it names exists", async () => {
  const links = [...readFileSync("docs/containers.md", "utf8").matchAll(/\]\(([^)#]+)/g)].map(
    ([, path]) => path!,
  );
  expect(links.length).toBeGreaterThan(2);
  for (const link of links) expect(await Bun.file(`docs/${link}`).exists(), link).toBe(true);
});
