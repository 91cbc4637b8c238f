import '@mantine/core/styles.css';
import './style.css';
import { createTheme, defaultVariantColorsResolver, MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { queryClient, whenSignedOut } from './queries.ts';
import { router } from './router.tsx';

const theme = createTheme({
  primaryColor: 'blue',
  // Dark enough for white letters.
  primaryShade: 8,
  variantColorResolver: (input) => ({
    ...defaultVariantColorsResolver(input),
    ...(input.variant === 'outline'
      ? { color: 'var(--app-red)', border: '1px solid var(--app-red)', hover: 'var(--app-hover)' }
      : {}),
  }),
  defaultRadius: 'sm',
  fontFamily: 'system-ui, sans-serif',
  cursorType: 'pointer',
  respectReducedMotion: true,
});

whenSignedOut(() => {
  if (location.pathname === '/login') return;
  queryClient.clear();
  void router.navigate({ to: '/login', search: { from: location.pathname + location.search } });
});

const root = document.getElementById('root');
if (root === null) throw new Error('The page has no #root.');
createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
