/** Where the bundle of the sources as they are now lies, or would lie. @param root the directory of package.json. */
export function bundleDirectory(root: string): string;

/**
 * The module that starts the bundled server: the bundle of exactly these sources, or, where the sources are not part of
 * the installation, the newest one.
 * @returns null where there is none: start from the sources.
 */
export function currentBundle(root: string): string | null;
