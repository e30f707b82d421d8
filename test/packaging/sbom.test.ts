// The list of what is compiled in: all of it, nothing else, with the checksums of bun.lock.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { dependencies, license, name, version } from "../../package.json";
import { sbom } from "../../packaging/sbom.ts";
import { TARGETS } from "../../packaging/targets.ts";

type Component = {
  name: string;
  version: string;
  purl: string;
  "bom-ref": string;
  hashes: { alg: string; content: string }[];
  licenses: { license: { id?: string } }[];
};
const document = sbom() as {
  bomFormat: string;
  specVersion: string;
  metadata: { component: Component };
  components: Component[];
  dependencies: { ref: string; dependsOn?: string[] }[];
};

test("is CycloneDX 1.6 about this version, and the same each time", () => {
  expect(document).toMatchObject({
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: { component: { name, version, licenses: [{ license: { id: license } }] } },
  });
  expect(sbom()).toEqual(document);
});

test("has the runtimes and the dependencies, which need nothing else, with the checksums of bun.lock", () => {
  const lock = readFileSync("bun.lock", "utf8");
  const names = document.components.map((component) => component.name);
  expect(names).toEqual([...Object.keys(dependencies), ...TARGETS.map(({ runtime }) => runtime)].sort());
  for (const { name: component, version: locked, hashes } of document.components) {
    const [{ alg, content }] = hashes as [{ alg: string; content: string }];
    const integrity = `sha512-${Buffer.from(content, "hex").toString("base64")}`;
    const line = lock.split("\n").find((text) => text.startsWith(`    "${component}": `))!;
    expect(alg).toBe("SHA-512");
    expect(line).toContain(`"${component}@${locked}"`);
    expect(line).toEndWith(`"${integrity}"],`);
    expect(line).not.toContain('"dependencies"');
  }
});

test("the licences are those of the installed packages", () => {
  for (const component of Object.keys(dependencies)) {
    const { license: theirs } = JSON.parse(readFileSync(`node_modules/${component}/package.json`, "utf8"));
    expect(document.components.find((each) => each.name === component)!.licenses).toEqual([
      { license: { id: theirs } },
    ]);
  }
});

test("every reference leads to a component, and every purl is one", () => {
  const refs = [document.metadata.component, ...document.components].map((component) => component["bom-ref"]);
  expect(document.dependencies.map(({ ref }) => ref)).toEqual(refs);
  expect(document.dependencies[0]!.dependsOn).toEqual(refs.slice(1));
  for (const ref of refs) expect(ref).toMatch(/^pkg:npm\/(%40[\w-]+\/)?[\w-]+@\d+\.\d+\.\d+$/);
});
