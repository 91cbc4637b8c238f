/** What stands as the provider of machines that no provider made, and as their zone. */
export const EXISTING = 'existing';
