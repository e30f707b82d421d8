// The list of what is compiled into the programs, with the checksums of bun.lock: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json).

import { readFileSync, writeFileSync } from "node:fs";

import { dependencies, description, license, name, version } from "../package.json";
import { addChecksums } from "./build.ts";
import { TARGETS } from "./targets.ts";

type Locked = Record<string, [spec: string, registry: string, fields: object, integrity: string]>;

/** Package → its specification, its fields and its checksum, as Bun has locked them. */
export function lockedPackages(): Locked {
  // A lockfile of Bun's is JSON with comments and trailing commas.
  return (Bun.JSONC.parse(readFileSync("bun.lock", "utf8")) as { packages: Locked }).packages;
}

const LICENSES: Record<string, string> = { citty: "MIT", consola: "MIT" };

/** Returns the document. It has no time and no serial number: the same source gives the same bytes. */
export function sbom(): object {
  const locked = lockedPackages();
  const compiled = [...Object.keys(dependencies), ...TARGETS.map(({ runtime }) => runtime)].sort();
  const components = compiled.map((component) => {
    const [spec, , , integrity] = locked[component]!;
    const itsVersion = spec.slice(spec.lastIndexOf("@") + 1);
    const purl = purlOf(component, itsVersion);
    return {
      type: component.startsWith("@oven/") ? "platform" : "library",
      "bom-ref": purl,
      name: component,
      version: itsVersion,
      purl,
      // Of the package's tarball.
      hashes: [
        { alg: "SHA-512", content: Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex") },
      ],
      // Of Bun and the libraries in it: THIRD-PARTY-NOTICES.
      licenses: [
        component in LICENSES
          ? { license: { id: LICENSES[component] } }
          : { license: { name: "MIT and others: THIRD-PARTY-NOTICES" } },
      ],
    };
  });
  const self = purlOf(name, version);
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": self,
        name,
        version,
        description,
        purl: self,
        licenses: [{ license: { id: license } }],
      },
    },
    components,
    dependencies: [
      { ref: self, dependsOn: components.map(({ purl }) => purl) },
      ...components.map(({ purl }) => ({ ref: purl })),
    ],
  };
}

/** https://github.com/package-url/purl-spec: the @ of a scope is encoded. */
const purlOf = (component: string, itsVersion: string): string =>
  `pkg:npm/${component.replace("@", "%40")}@${itsVersion}`;

if (import.meta.main) {
  const file = `dist/${name}-sbom.cdx.json`;
  writeFileSync(file, `${JSON.stringify(sbom(), undefined, 2)}\n`);
  addChecksums([file]);
}
