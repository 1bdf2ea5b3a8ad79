# The package, built, with what it needs to run on PostgreSQL, and a configuration in the working directory.

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
RUN npm run build

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json ./
# The driver of the store is the user's choice, so it is not among the package's own dependencies.
RUN npm ci --omit=dev && npm install --no-save --omit=dev pg@^8.13 && npm cache clean --force
COPY --from=build /app/dist dist
COPY examples/compose/coatcheck.config.ts ./
RUN install --directory --owner=node --group=node /data
VOLUME /data
USER node
EXPOSE 2020
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["serve"]
