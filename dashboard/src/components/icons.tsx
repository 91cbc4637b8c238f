/** Small pictures for the menu and buttons, as strokes in a field of 24 by 24. They say nothing to a screen reader. */
const PATHS = {
  overview: 'M4 4h7v7H4zM13 4h7v4h-7zM13 11h7v9h-7zM4 14h7v6H4z',
  servers: 'M4 4h16v7H4zM4 13h16v7H4zM8 7.5h.01M8 16.5h.01',
  taskservs: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5',
  catalog: 'M5 4h5v16H5zM10 4h4v16h-4zM15.5 5l3.5-1 2 15.500-3.500 .5z',
  workflows:
    'M6 5a2 2 0 100 4 2 2 0 000-4zM18 10a2 2 0 100 4 2 2 0 000-4zM6 15a2 2 0 100 4 2 2 0 000-4zM8 7.500l8 3.500M8 16.500l8-3.500',
  schedules: 'M12 4a8 8 0 100 16 8 8 0 000-16zM12 8v4l3 2',
  operations: 'M3 12h4l3-7 4 14 3-7h4',
  workspaces: 'M4 6h6l2 2h8v10H4z',
  providers: 'M7 18a4 4 0 01-.500-7.970 5.500 5.500 0 0110.700-1A4.500 4.500 0 0117 18z',
  users: 'M12 4a4 4 0 100 8 4 4 0 000-8zM5 20c0-4 3-6 7-6s7 2 7 6',
  tokens: 'M8 11a4 4 0 100 8 4 4 0 000-8zM11 12l8-8M16 7l3 3',
  webhooks: 'M13 3L5 14h6l-1 7 8-11h-6z',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7',
  orphans:
    'M12 4a8 8 0 100 16 8 8 0 000-16zM9.500 9.500a2.500 2.500 0 113.500 2.300c-.700.400-1 .900-1 1.700M12 16.500h.01',
  theme: 'M12 4a8 8 0 100 16zM12 4a8 8 0 010 16',
  leave: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={1.7}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
